"""The command line of the scripts that derive a C header: write it, or check the one that there is."""

import argparse
import sys


def main(doc, path, derive):
    """Run as a script: `doc` is its help, `derive` makes the text of the header at `path`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    if parser.parse_args().write:
        path.write_text(derive())
    elif path.read_text() != derive():
        sys.exit(f"{path.name} does not hold the numbers that this script derives")
