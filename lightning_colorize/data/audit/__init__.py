"""Finds faults in an image set: broken, grey, tiny, CMYK and duplicate images, and leaks."""

from lightning_colorize.data.audit.duplicates import DuplicateGroup
from lightning_colorize.data.audit.findings import Audit, as_text, audit, exclusion_list

__all__ = ["Audit", "DuplicateGroup", "as_text", "audit", "exclusion_list"]
