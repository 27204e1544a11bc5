"""How do images to measure on and images to refit BatchNorm on come from two places?

Who compares models that were trained elsewhere has a set of images to measure them on, and maybe the images that they
were trained on, or some like them, somewhere else.
"""

from __future__ import annotations

from dataclasses import replace

from bequest.data.source import Source


def with_calibration(source: Source, calibration: Source) -> Source:
    """Put the images of another source in the place of the training images.

    Args:
        source: what is measured: all its images become `test`.
        calibration: all its images become `train`; it has the same classes.

    Returns:
        A source of both; names of records say which one they are from.

    Raises:
        ValueError: if the classes differ.
    """
    if source.classes != calibration.classes:
        raise ValueError(
            f"{source.name} has {len(source.classes)} classes and the calibration data {calibration.name} has "
            f"{len(calibration.classes)}, or they have other names; both need the classes of the models, in one order"
        )
    records = [replace(record, split="test") for record in source.records]
    records += [
        replace(record, name=f"calibration {record.name}", group=f"calibration {record.group}", split="train")
        for record in calibration.records
    ]
    return replace(source, records=tuple(records))
