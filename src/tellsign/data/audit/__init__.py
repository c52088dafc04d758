"""The audit: can the two classes of a data set be told apart without looking for traces in the picture?"""

from tellsign.data.audit.advice import LIMIT, Finding
from tellsign.data.audit.reading import read_to_audit
from tellsign.data.audit.report import Audit, Example, audit, exceeded, text, to_dict

__all__ = ["LIMIT", "Audit", "Example", "Finding", "audit", "exceeded", "read_to_audit", "text", "to_dict"]
