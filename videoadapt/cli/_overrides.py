"""Values of a config on the command line: `key value`, and the ways of writing them that other tools taught."""

import argparse
import re
import sys
from collections.abc import Sequence

_BEFORE_OVERRIDES = ("--cfg-options", "--options", "--opts", "--overrides")  # of mmaction, detectron and their kin


def add_overrides(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Let a command take overrides, in any place between its options."""
    parser.add_argument("overrides", nargs="*", default=[], metavar="key value", help=meaning)


def parse_with_overrides(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, rest: str = ""
) -> argparse.Namespace:
    """Parse a command line whose overrides may also be `--key value`, `--key=value`, or follow `--cfg-options`.

    `rest`: the option to which all that follows it belongs.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index(rest) if rest in words else len(words)
    own = {name for action in parser._actions for name in action.option_strings}
    read = [_as_override(parser, word, own) for word in words[:end] if word not in _BEFORE_OVERRIDES]
    return parser.parse_intermixed_args([*read, *words[end:]])


def _as_override(parser: argparse.ArgumentParser, word: str, own: set[str]) -> str:
    """A word of the command line; a key of the config loses its dashes, and what is neither ends the program."""
    name, equals, value = word.partition("=")
    if not re.match(r"--[A-Za-z]", word) or name in own:
        return word
    from videoadapt.config.schema import Config
    from videoadapt.registry.refused_keys import keys_like

    key = name.removeprefix("--")
    if "." in key or key in Config.model_fields:
        return f"{key}{equals}{value}"
    close = keys_like(key, Config) or ["KEY"]
    parser.error(
        f"{name}: is no option of this command; a value of the config is written `{close[0]} VALUE`, as in --help"
    )
