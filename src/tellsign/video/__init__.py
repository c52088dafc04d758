"""A video → its frames by their time stamps, and what is known of the file.

Shapes: C channels (3), H W pixels.
"""

from tellsign.video.container import HEAD_BYTES, VIDEO_SUFFIXES, is_video
from tellsign.video.decoding import Frame, Frames, VideoMeta, frames, majority_vote, probe

__all__ = [
    "HEAD_BYTES",
    "VIDEO_SUFFIXES",
    "Frame",
    "Frames",
    "VideoMeta",
    "frames",
    "is_video",
    "majority_vote",
    "probe",
]
