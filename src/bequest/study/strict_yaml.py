"""Which part of YAML may a study file use?

Maps, lists, text, numbers, true and false, and nothing. The rest of YAML surprises or harms and is refused: aliases (a
kilobyte can stand for gigabytes), tags, a key that is given twice (the last would win), nesting without end. Dates
stay text.
"""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 20  # maps and lists inside each other; a study needs six
LONGEST_NUMBER = 100  # characters; Python refuses to print integers of more than 4,300 digits
TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


class NotPlain(ValueError):
    """Text that is not YAML, or uses more of it than a study file may.

    Attributes:
        line: where, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Read plain YAML.

    Args:
        text: one document.

    Returns:
        The nodes, which know their lines (None if there is no content), and the content.

    Raises:
        NotPlain: one line of text that says what is wrong, with the line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotPlain(f"not readable as YAML: a character (number {error.character}) that no text has", line) from None
    except _Refused as error:
        raise NotPlain(f"{error.problem}", _line(error)) from None
    except yaml.MarkedYAMLError as error:
        problem = str(error.problem or error.context)
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise NotPlain(f"not readable as YAML: {' '.join(problem.split())[:200]}", _line(error)) from None


class _Refused(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and kind are those of the base class
        first: [(tag, pattern) for tag, pattern in rules if tag in TAGS]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def fetch_alias(self) -> None:
        raise _refusal("aliases are not used in study files; put text that begins with `*` in quotes", self.get_mark())

    def fetch_anchor(self) -> None:
        raise _refusal("anchors are not used in study files; put text that begins with `&` in quotes", self.get_mark())

    def fetch_tag(self) -> None:
        raise _refusal("tags are not used in study files; put text that begins with `!` in quotes", self.get_mark())

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > DEEPEST:
            message = f"nested too deeply (more than {DEEPEST} maps and lists inside each other)"
            raise _refusal(message, parent.start_mark if parent else self.get_mark())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in lines:
                    shown = repr(key.value)[1:-1][:80]
                    message = f"`{shown}` is there twice, first in line {lines[key.value]}; leave one of them out"
                    raise _refusal(message, key.start_mark)
                lines[key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= character <= "\udfff" for character in node.value):
            raise _refusal("half of a character (\\ud800 to \\udfff), which no file can hold", node.start_mark)
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
            if len(node.value) > LONGEST_NUMBER:
                raise _refusal(f"a number of {len(node.value):,} characters is too long", node.start_mark)
            try:
                return super().construct_object(node, deep)
            except ValueError:  # as in 0x_
                raise _refusal(f"{node.value!r} is not a number; put text in quotes", node.start_mark) from None
        return super().construct_object(node, deep)


def _refusal(message: str, mark: Any) -> _Refused:
    return _Refused(problem=message, problem_mark=mark)


def _line(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1
