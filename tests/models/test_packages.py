from pathlib import Path

import pytest
import safetensors

from bequest.models.packages import package_path


def test_a_place_in_an_installed_package_is_found():
    assert package_path("package:safetensors/torch.py") == Path(safetensors.__file__).parent / "torch.py"
    assert package_path("models/a.pt") == Path("models/a.pt")


@pytest.mark.parametrize(
    ("place", "said", "kind"),
    [
        ("package:no_such_weights/model", "pip install no-such-weights", FileNotFoundError),
        ("package:safetensors/nothing", "has no nothing", FileNotFoundError),
        ("package:safetensors/../torch", "is no place in a package", ValueError),
        ("package:a.b/c", "is no place in a package", ValueError),
    ],
)
def test_other_places_are_refused(place, said, kind):
    with pytest.raises(kind, match=said):
        package_path(place)
