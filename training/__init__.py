"""Pictures to model files, ground artefacts and reports: flat scripts behind `onboard-train`."""
