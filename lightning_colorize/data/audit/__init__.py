"""What is wrong with a set of images: broken, grey, tiny, in ink, or there twice."""

from lightning_colorize.data.audit.exclusion import as_text, exclusion_list
from lightning_colorize.data.audit.groups import Crossing, Group
from lightning_colorize.data.audit.result import Audit
from lightning_colorize.data.audit.work import audit

__all__ = ["Audit", "Crossing", "Group", "as_text", "audit", "exclusion_list"]
