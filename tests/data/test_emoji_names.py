from bequest.data.doors import open_source


def test_names_have_the_classes_groups_and_sides_of_the_pictures():
    names, pictures = open_source("emoji:names"), open_source("emoji:line")
    assert names.classes == pictures.classes and names.texts and not pictures.texts
    told = [[(one.name, one.group, one.target, one.split) for one in source.records] for source in (names, pictures)]
    assert told[0] == told[1]


def test_no_group_and_no_text_is_on_two_sides():
    records = open_source("emoji:names").records
    for key in ("group", "text"):
        sides = {}
        for record in records:
            assert sides.setdefault(getattr(record, key), record.split) == record.split
    assert {"dog face", "grinning face"} <= {record.text for record in records}
    assert all(record.text == record.text.lower().strip() and record.draw is None for record in records)
