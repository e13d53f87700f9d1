"""`firmware-sim`: what happens to pictures between the board and the ground."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from firmware_sim.link import add_link, link_command
from firmware_sim.run import add_run, run_command
from firmware_sim.tables import add_devices, devices_command, devices_text
from onboard.options import OK, Parser, add_talk, print_json, run, say


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="firmware-sim", description="Simulators of the board and of the link.")
    commands = parser.add_subparsers(dest="command", required=True)
    link = commands.add_parser("link", help="send packets over a bad radio link")
    add_link(link)
    devices = commands.add_parser("devices", help="what a picture costs on each device, and saves on each radio")
    add_devices(devices)
    mission = commands.add_parser("run", help="a whole mission, from the camera to the ground's pictures")
    add_run(mission)
    for one in (link, devices, mission):
        add_talk(one)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run(command, build_parser(), argv)


def command(options: argparse.Namespace) -> int:
    result: Any
    status = OK
    if options.command == "link":
        result = link_command(options)
        text = f"{options.output}: {result['intact']} of {result['packets']} packets arrived intact"
    elif options.command == "devices":
        result = devices_command(options)
        text = devices_text(result, options.verbose)
    else:
        result, text, status = run_command(options)
    if options.json:
        print_json(result)
    elif not options.quiet:
        say(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
