"""The audit: can the two classes of a data set be told apart without looking for traces in the picture?"""

from tellsign.data.audit.advice import LIMIT, Finding
from tellsign.data.audit.report import Audit, Example, audit, exceeded, text, to_dict, unjudged

__all__ = ["LIMIT", "Audit", "Example", "Finding", "audit", "exceeded", "text", "to_dict", "unjudged"]
