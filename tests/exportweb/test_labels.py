from __future__ import annotations

import json
from pathlib import Path

import pytest

from exportweb.errors import CardError
from exportweb.labels import flow_names, read_labels


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_one_a_line(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, "labels.txt", "\ufeffcat\n red fox \nü\n\n")) == ["cat", "red fox", "ü"]
    with pytest.raises(CardError, match="one label per line"):
        read_labels(write(tmp_path, "gap.txt", "cat\n\ndog\n"))
    with pytest.raises(CardError, match="can't be read"):
        read_labels(tmp_path / "none.txt")


def test_categories_by_their_ids(tmp_path: Path) -> None:
    """COCO's ids have gaps; LVIS' file is the same with more in it."""
    dataset = {"images": [], "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person", "supercategory": "person"}]}
    assert read_labels(write(tmp_path, "instances.json", json.dumps(dataset))) == ["person", "car"]
    assert read_labels(write(tmp_path, "list.json", '["a", "b"]')) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("{}", "should be a COCO or LVIS dataset"),
        ("[1]", "should be a COCO or LVIS dataset"),
        ('{"categories": [{"id": 1}]}', "without an 'id'"),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "2 categories, but only 1 different ids"),
    ],
)
def test_json_of_another_kind(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CardError, match=says):
        read_labels(write(tmp_path, "labels.json", text))


YAMLS = {
    "a mapping": "path: ../datasets\n\n# Classes\nnames:\n  0: person\n  1: traffic light # red\n  2: 'it''s'\n\ndownload: |\n  x: y\n",
    "a list": 'nc: 3\nnames:\n- person\n- traffic light\n- "it\'s"\n',
    "an indented list": "names:\n  - person\n  - traffic light\n  # more\n\n  - it's\nnc: 3\n",
    "brackets": "nc: 3\nnames: ['person', 'traffic light', \"it's\"]  # all\n",
    "brackets over lines": "names: [person, # first\n  traffic light,\n  it's]\nnc: 3\n",
    "braces": 'names: {0: person, 1: traffic light, 2: "it\'s"}\n',
    "another order": "names:\n  2: it's\n  0: person\n  1: traffic light\n",
}


@pytest.mark.parametrize("name", list(YAMLS))
def test_yolos_names(tmp_path: Path, name: str) -> None:
    assert read_labels(write(tmp_path, "data.yaml", YAMLS[name])) == ["person", "traffic light", "it's"]


@pytest.mark.parametrize("name", list(YAMLS))
def test_yolos_names_as_yaml_reads_them(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    names = yaml.safe_load(YAMLS[name])["names"]
    assert (names if isinstance(names, list) else [names[i] for i in range(3)]) == ["person", "traffic light", "it's"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: images\n", "no 'names:'"),
        ("names:\n", "should list its names"),
        ("names: person\n", "after 'names:' comes 'person'"),
        ("names:\n  1: person\n  2: car\n", "from 0 on"),
        ("names: [a, [b, c]]\n", "should list its names"),
        ("names: &anchor [a]\n", "should list its names"),
        ("names:\n  - *alias\n", r"can't be read: '- \*alias'"),
        ("names:\n  0: {a: b}\n", "can't be read"),
    ],
)
def test_yaml_that_is_not_understood_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CardError, match=says):
        read_labels(write(tmp_path, "data.yml", text))


def test_names_as_ultralytics_writes_them_into_a_graph() -> None:
    names = {0: "person", 1: "cat, black", 2: "it's", 3: "12"}
    assert flow_names(str(names)) == list(names.values())
    assert flow_names(str(list(names.values()))) == list(names.values())
    assert flow_names("names") is None


def test_a_voc_folder(tmp_path: Path) -> None:
    objects = "<annotation><object><name>{}</name><part><name>head</name></part></object><object><name>cat</name></object></annotation>"
    for i, name in enumerate(("dog", "bird")):
        write(tmp_path, f"VOC2012/Annotations/{i}.xml", objects.format(name))
    assert read_labels(tmp_path / "VOC2012") == ["bird", "cat", "dog"]
    assert read_labels(tmp_path / "VOC2012" / "Annotations") == ["bird", "cat", "dog"]
    with pytest.raises(CardError, match="should be a VOC dataset"):
        read_labels(tmp_path)
    write(tmp_path, "broken/1.xml", "<a>")
    with pytest.raises(CardError, match="is no XML"):
        read_labels(tmp_path / "broken")
