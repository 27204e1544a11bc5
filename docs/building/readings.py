"""What does an analysis measure, and how is it read? Its own docstring says it."""

from bequest.analyses.plugins import about


def reading(name: str) -> str:
    """Give the docstring of an analysis as Markdown, its question in bold."""
    question, *paragraphs = about(name).split("\n\n")
    return "\n\n".join([f"**{' '.join(question.split())}**", *paragraphs])
