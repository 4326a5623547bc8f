"""Labels from files: one a line, or out of what datasets are described by: COCO's or LVIS's JSON, YOLO's ``data.yaml``, a VOC folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from exportweb.errors import CardError

_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\""""
_PLAIN = r"""[^\s,:'"\[\]{}#&*!|>%@`-](?:[^,:\[\]{}#]|(?<!\s)\#|:(?!\s))*"""
_NAME = rf"(?P<name>{_QUOTED}|{_PLAIN})"
_ITEM = re.compile(rf"\s*(?:(?P<key>\d+)\s*:\s+)?{_NAME}\s*(?:,|$)")  # between the brackets of [a, b] or {0: a, 1: b}
_LINE = re.compile(rf"\s*(?:-|(?P<key>\d+)\s*:)\s+{_NAME}\s*(?:\#.*)?")  # "- a" or "0: a"
_COMMENT = re.compile(r"\s*(?:#.*)?")


def read_labels(path: Path) -> list[str]:
    """Return the labels that a file or folder gives, in the order of the classes' numbers.

    - ``*.json``: the `categories` of a COCO or LVIS dataset, by their ids; or a list of strings.
    - ``*.yaml``, ``*.yml``: the `names` of YOLO's ``data.yaml``, a list or a mapping from 0 on.
    - a folder: the names in the XML files of a VOC dataset's ``Annotations``, sorted.
    - any other file: UTF-8 text, one label a line; blank lines at its end don't count.

    Raises `CardError` that says what was found instead.
    """
    try:
        if path.is_dir():
            return _voc(path)
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"The labels in {path} can't be read: {error}. It should be UTF-8 text.") from error
    if path.suffix.lower() == ".json":
        return _coco(path, text)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path, text)
    labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels or not all(labels):
        raise CardError(f"{path} should hold one label per line, with no empty line between them.")
    return labels


def flow_names(text: str) -> list[str] | None:
    """Return the names in ``[a, 'b']`` or ``{0: a, 1: "b"}``, as YAML and Python write them; None if it is neither."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    inside, at, found = text[1:-1].strip(), 0, []
    while at < len(inside):
        match = _ITEM.match(inside, at)
        if match is None or (match["key"] is None) != (text[0] == "["):
            return None
        found.append((match["key"], _unquoted(match["name"])))
        at = match.end()
    return _in_order(found)


def _coco(path: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CardError(f"{path} is no JSON: {error}.") from error
    if isinstance(content, list) and content and all(isinstance(label, str) for label in content):
        return list(content)
    categories = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(categories, list) or not categories:
        raise CardError(f"{path} should be a COCO or LVIS dataset, with 'categories', or a list of labels.")
    try:
        names = {int(category["id"]): str(category["name"]) for category in categories}
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(f"{path} has a category without an 'id', a number, or a 'name'.") from error
    if len(names) != len(categories):
        raise CardError(f"{path} has {len(categories)} categories, but only {len(names)} different ids.")
    return [names[number] for number in sorted(names)]


def _yolo(path: Path, text: str) -> list[str]:
    """Read `names:` and no more of YAML than it is written in."""
    found = re.search(r"^names[ \t]*:[ \t]*", text, re.MULTILINE)
    if found is None:
        raise CardError(f"{path} has no 'names:'; a data.yaml of YOLO names its classes there.")
    rest = text[found.end() :]
    if rest[:1] in ("[", "{"):
        end = rest.find("]" if rest[0] == "[" else "}")
        names = flow_names(re.sub(r"(?m)\s#.*$", "", rest[: end + 1])) if end > 0 else None
    else:
        names = _in_order(list(_block(path, rest)))
    if not names:
        raise CardError(
            f"{path} should list its names as [a, b], as lines '- a', or as lines '0: a' from 0 on, in one piece; "
            f"after 'names:' comes {rest.strip().partition(chr(10))[0][:60]!r}."
        )
    return names


def _block(path: Path, text: str) -> Iterator[tuple[str | None, str]]:
    for line in text.splitlines():
        if _COMMENT.fullmatch(line):
            continue
        match = _LINE.fullmatch(line)
        if match is None or (match["key"] is not None and not line[0].isspace()):
            if line[0].isspace() or line[0] == "-":
                raise CardError(f"{path} has a name that can't be read: {line.strip()[:60]!r}. Put it in quotes.")
            return  # the next key
        yield match["key"], _unquoted(match["name"])


def _in_order(found: list[tuple[str | None, str]]) -> list[str] | None:
    """Return the names by their numbers, if they have any: those from 0 on, none missing."""
    if all(key is None for key, _ in found):
        return [name for _, name in found]
    numbered = {int(key): name for key, name in found if key is not None}
    return [numbered[i] for i in range(len(found))] if sorted(numbered) == list(range(len(found))) else None


def _unquoted(name: str) -> str:
    if name[0] == "'":
        return name[1:-1].replace("''", "'")
    if name[0] == '"':
        try:
            return str(json.loads(name))
        except ValueError:
            return name[1:-1]
    return name.strip()


def _voc(path: Path) -> list[str]:
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    names: set[str] = set()
    for file in folder.glob("*.xml"):
        try:
            names.update(name.strip() for found in ElementTree.parse(file).iter("object") if (name := found.findtext("name")))
        except ElementTree.ParseError as error:
            raise CardError(f"{file} is no XML: {error}.") from error
    if not names:
        raise CardError(f"{path} should be a VOC dataset: there is no XML file that names an object in {folder}.")
    return sorted(names)
