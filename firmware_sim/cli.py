"""`firmware-sim`: what happens to pictures between the board and the ground."""

from __future__ import annotations

import argparse
import sys

from firmware_sim.link import add_link, link_command
from onboard.options import OK, add_talk, print_json, run, say


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmware-sim", description="Simulators of the board and of the link.")
    commands = parser.add_subparsers(dest="command", required=True)
    link = commands.add_parser("link", help="send packets over a bad radio link")
    add_link(link)
    add_talk(link)
    return parser


def main(argv: list[str] | None = None) -> int:
    return run(command, build_parser(), argv)


def command(options: argparse.Namespace) -> int:
    result = link_command(options)
    if options.json:
        print_json(result)
    elif not options.quiet:
        say(f"{options.output}: {result['intact']} of {result['packets']} packets arrived intact")
    return OK


if __name__ == "__main__":
    sys.exit(main())
