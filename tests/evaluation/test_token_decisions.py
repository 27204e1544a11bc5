import pytest
import torch

from bequest.evaluation.token_decisions import said_tokens

TARGETS = torch.tensor([[5, 6, 7, -100], [8, -100, -100, -100], [5, 9, -100, -100]])


def test_each_place_is_compared_with_the_token_at_the_next():
    answers = torch.tensor([[6, 1, 2, 3], [4, 4, 4, 4], [9, 4, 4, 4]])
    said = said_tokens(answers, TARGETS)
    assert said.truth.tolist() == [6, 7, 9]
    assert said.answers.tolist() == [6, 1, 9]
    assert said.examples.tolist() == [0, 0, 2]  # the text of one token has nothing to be said


def test_scores_give_what_their_likeliest_tokens_give():
    scores = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        vars(said_tokens(scores, TARGETS)).values(),
        vars(said_tokens(scores.argmax(-1), TARGETS)).values(),
        strict=True,
    ):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("outputs", [torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 4), torch.zeros(3, 3, 10)])
def test_other_shapes_are_refused(outputs):
    with pytest.raises(ValueError, match=r"needs outputs \[texts, tokens, vocabulary\]"):
        said_tokens(outputs, TARGETS)


def test_texts_of_one_token_say_nothing():
    with pytest.raises(ValueError, match="none of 2 texts has a token to be said"):
        said_tokens(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64))
