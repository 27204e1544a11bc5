"""A recipe refuses what the training loop could not do."""

import pytest
from pydantic import ValidationError

from bequest.training.recipe import Recipe


@pytest.mark.parametrize("kind", ["none", "crop", "crop+flip+rotate"])
def test_known_augmentations_are_kept_as_written(kind):
    assert Recipe(augmentation=kind).augmentation == kind


@pytest.mark.parametrize("kind", ["crp", "crop,flip", "none+crop", ""])
def test_unknown_augmentations_are_refused_at_once(kind):
    with pytest.raises(ValidationError, match="augmentation"):
        Recipe(augmentation=kind)


def test_an_unknown_augmentation_names_the_nearest():
    with pytest.raises(ValidationError, match=r"there is no augmentation 'crp'; did you mean 'crop'\?"):
        Recipe(augmentation="crp")
