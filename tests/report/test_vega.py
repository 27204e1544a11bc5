"""The script of the charts fits into a page, and is taken from where it is kept only as it was written."""

import pytest

from bequest.report.vega import vega_script


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vega_script.cache_clear()
    yield tmp_path / "bequest"
    vega_script.cache_clear()


def again():
    vega_script.cache_clear()
    return vega_script()


def test_vega_fits_into_a_script_element():
    script = vega_script()
    assert "window.vegaEmbed" in script
    assert "</script" not in script and "<!--" not in script and "\r" not in script
    assert len(script) < 1_200_000


def test_it_is_kept_and_made_again_where_it_was_changed(place):
    script = vega_script()
    [file] = place.iterdir()
    content = file.read_text()
    assert content.endswith(script)
    digest = content.partition("\n")[0]
    for other in ("", "no line", f"{digest}\n{script}alert(1)", "\udcff"):
        file.write_bytes(other.encode(errors="surrogateescape"))
        assert again() == script
        assert file.read_text() == content


def test_what_is_kept_saves_the_making(place, monkeypatch):
    import vl_convert

    script = vega_script()
    monkeypatch.delattr(vl_convert, "javascript_bundle")  # it would fail if it were asked
    assert again() == script


def test_where_nothing_can_be_kept_the_page_has_its_script_all_the_same(place):
    script = vega_script()
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    place.write_text("a file where the folder would be")
    assert again() == script
    assert place.is_file()
