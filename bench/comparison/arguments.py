"""Values of options."""

import argparse


def whole(least):
    def parse(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number of at least {least} is needed, not '{text}'")
        return int(text)
    return parse


def numbers(least):
    """Whole numbers that grow, by commas."""
    def parse(text):
        found = [whole(least)(part) for part in text.split(",")]
        if found != sorted(set(found)):
            raise argparse.ArgumentTypeError(f"numbers that grow are needed, not '{text}'")
        return found
    return parse


def words(known):
    def parse(text):
        found = text.split(",")
        for word in found:
            if word not in known:
                raise argparse.ArgumentTypeError(f"there is no '{word}', but {', '.join(known)}")
        return found
    return parse
