"""Emulated microcontrollers, the C encoder and missions (see README.md)."""
