"""Evidence pages: what they say, that nothing breaks out of them, and that they are the same every time."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tellsign.calibration import shift_prior
from tellsign.detectors.evidence import profile_evidence
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.explain import Explanation, figures, page, plots, save_pictures, words, write_page
from tellsign.types import ConfigError, Evidence, Verdict

VOID = {"meta", "img", "br", "input", "link", "hr"}
REAL, FAKE = np.linspace(-3, 1, 50), np.linspace(-1, 3, 40)
SPECTRUM = Evidence(
    "heatmap", "log spectrum", np.random.default_rng(0).normal(100, 5, (32, 32)), "20 ln |F|", "c"
)
HOSTILE = "<script>alert(1)</script>\"' \u202egnp.exe\x1b[2J\udcff&amp;\x00"


def verdict(label="fake", *, evidence=(), **changes):
    values = {
        "label": label,
        "probability": 0.62,
        "prior": 0.5,
        "score": 1.5,
        "threshold": 0.5,
        "detector": "spectrum@1a2b3c",
        "sha256": "ab" * 32,
        "evidence": tuple(evidence),
        "warnings": (),
    }
    return Verdict(**(values | changes))


def explanation(verdict_=None, **changes):
    values = {
        "name": "photo.jpg",
        "kind": "image",
        "verdict": verdict_ or verdict(),
        "error": None,
        "picture": np.full((30, 40, 3), 128, np.uint8),
        "facts": (("Format", "JPEG"),),
        "real_scores": REAL,
        "fake_scores": FAKE,
        "low": 0.0,
        "high": 1.0,
        "card": "faces only",
    }
    return Explanation(**(values | changes))


def failed(**changes):
    return replace(
        explanation(), **({"verdict": None, "error": "the file is empty", "picture": None} | changes)
    )


def html(*explanations, title="Title", detector="spectrum@1a2b3c", notes=()):
    return "".join(page(explanations, title=title, detector=detector, notes=notes))


class Document(HTMLParser):
    """A parsed page; fails on tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and not {"style", "svg"} & set(self.open):
            self.texts.append(data.strip())

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def test_the_document_checker_notices_tags_in_disorder():
    with pytest.raises(AssertionError):
        Document("<p><b></p></b>")


# What a page says


def test_no_sign_is_never_called_real_and_no_proof():
    document = Document(html(explanation(verdict("real", score=-1.0, probability=0.1))))
    assert "No sign found" in document.texts
    assert "no proof that it is authentic" in document.text
    assert not {"real", "Real", "REAL", "authentic", "genuine"} & set(document.texts)


@pytest.mark.parametrize(
    ("label", "score", "heading"),
    [
        ("fake", 1.5, "Signs of generation found"),
        ("uncertain", 0.5, "Can’t tell"),
        ("real", -1.0, "No sign found"),
    ],
)
def test_the_verdict_comes_before_everything_else_of_its_section(label, score, heading):
    text = html(explanation(verdict(label, score=score, evidence=[SPECTRUM])))
    section = text[text.index("<article") :]
    assert section.index(heading) < section.index("<img") < section.index("Where the score lies")


def test_a_probability_comes_with_its_prior_and_with_other_priors():
    text = Document(html(explanation(verdict(probability=0.62, prior=0.3)))).text.replace("\u00a0", " ")
    assert "62 % probability of a fake, if 30 % of such images were fake" in text
    shifted = [float(shift_prior(0.62, from_prior=0.3, to_prior=share)) for share in (0.01, 0.1, 0.3, 0.5)]
    row = " ".join(words.percent(p).replace("\u00a0", " ") for p in shifted)
    assert f"If this share were fake 1 % 10 % 30 % 50 % Probability of a fake {row}" in text


def test_a_prior_that_reads_like_another_is_shown_once():
    text = Document(html(explanation(verdict(probability=0.62, prior=0.498)))).text.replace("\u00a0", " ")
    assert "If this share were fake 1 % 10 % 50 % Probability of a fake" in text


def test_no_probability_is_shown_where_the_detector_is_out_of_its_depth():
    reason = "its spectrum is unlike the images this detector was trained on"
    document = Document(html(explanation(verdict("uncertain", probability=0.77, warnings=(reason,)))))
    assert "77 %" not in document.text
    assert "any number would be a guess" in document.text
    assert document.texts.index(reason.capitalize()) < document.texts.index(
        "The detector gives no answer about this image."
    )
    assert "this score decides nothing here" in document.text


def test_a_score_between_the_thresholds_is_given_as_the_reason():
    text = Document(html(explanation(verdict("uncertain", score=0.25)))).text
    assert "Its score 0.25 lies between the thresholds 0 and 1" in text
    assert "62 % probability" in text


def test_a_failed_input_has_a_section_with_its_reason():
    document = Document(html(failed(error="it is not a regular file")))
    assert "Not examined" in document.texts
    assert "It is not a regular file" in document.texts
    assert "probability" not in document.text


def test_warnings_of_a_decided_input_are_shown():
    assert "Quality 62" in Document(html(explanation(verdict("fake", warnings=("quality 62",))))).texts


def test_a_page_of_several_inputs_has_a_summary_that_links_to_them():
    document = Document(html(explanation(), explanation(name="b.jpg"), failed(name="c.jpg")))
    links = [a["href"] for tag, a in document.elements if tag == "a" and a["href"].startswith("#input-")]
    assert links == ["#input-1", "#input-1", "#input-2", "#input-3"]  # the first one: skip link
    assert {"input-1", "input-2", "input-3"} <= set(document.attributes("id"))
    assert "2 signs of generation found" in document.text
    assert "1 not examined" in document.text


def test_a_page_of_one_input_has_no_summary_and_of_none_says_so():
    assert 'id="summary"' not in html(explanation())
    assert "There was nothing to examine." in Document(html()).texts


def test_metadata_hash_detector_card_and_notes_are_there():
    facts = (("Format", "JPEG"), ("Comment", "one\ntwo"))
    document = Document(html(explanation(facts=facts), notes=("a note",)))
    for text in ("Format", "JPEG", "one\ntwo", "ab" * 32, "spectrum@1a2b3c", "faces only", "a note"):
        assert text in document.texts


def test_scalars_are_listed_with_unit_and_caption():
    scalar = Evidence("scalar", "alignment", np.array(-1.25), "radians", "An angle.")
    document = Document(html(explanation(verdict(evidence=[scalar]))))
    assert {"alignment", "−1.25", "radians", "An angle."} <= set(document.texts)


def test_a_video_has_its_timeline_frames_and_vote():
    timeline = (
        {"time": 0.0, "score": 2.0, "label": "fake"},
        {"time": 62.5, "score": -1.0, "label": "real"},
        {"time": 63.0, "score": None, "label": None},
    )
    vote = {"label": "fake", "real": 1, "fake": 1, "uncertain": 0}
    document = Document(html(explanation(kind="video", timeline=timeline, vote=vote)))
    assert (
        "1 frame: signs found; 1 frame: no sign found. Majority: signs of generation found." in document.text
    )
    assert (
        "2 frames with a score, mean 0.5; the highest is 2 at 0:00.0, the lowest −1 at 1:02.5."
        in document.text
    )
    assert {"1:02.5", "−1", "No score"} <= set(document.texts)
    assert "this video was generated" not in document.text


# Nothing breaks out, nothing is fetched


def hostile_page():
    curve = Evidence("curve", HOSTILE, np.arange(40.0)[None], HOSTILE + "$x^2$", HOSTILE, (HOSTILE,))
    evidence = [curve, replace(curve, kind="scalar", values=np.array(1.0), labels=())]
    first = explanation(
        verdict(evidence=evidence, detector=HOSTILE, warnings=(HOSTILE,), sha256=HOSTILE),
        name=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        card=HOSTILE,
    )
    return html(first, failed(name=HOSTILE, error=HOSTILE), title=HOSTILE, detector=HOSTILE, notes=(HOSTILE,))


def test_hostile_text_stays_text():
    text = hostile_page()
    assert text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    document = Document(text)
    tags = {tag for tag, _ in document.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "a:script"}
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    shown = "<script>alert(1)</script>\"' \\u202egnp.exe\\x1b[2J\\udcff&amp;\\x00"
    assert document.texts.count(shown) >= 10


def test_a_page_fetches_nothing_and_forbids_it():
    document = Document(html(explanation(verdict(evidence=[SPECTRUM])), failed()))
    for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
        for value in document.attributes(name):
            assert value.startswith(("#", "data:image/"))
    policy = next(
        a["content"] for t, a in document.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert not re.search(r"url\((?!#)|@import|https?:", html(explanation(verdict(evidence=[SPECTRUM]))))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/someone/x.jpg", "x.jpg"),
        ("C:\\Users\\someone\\x.jpg", "x.jpg"),
        ("\\\\server\\share\\x.jpg", "x.jpg"),
        ("sub/x.jpg", "sub/x.jpg"),
        ("/", "/"),
    ],
)
def test_folders_of_the_machine_do_not_reach_the_page(name, shown):
    assert shown in Document(html(explanation(name=name))).texts
    assert "someone" not in html(explanation(name=name))


# Accessibility


def test_ids_are_unique_and_every_reference_has_its_target():
    text = html(explanation(verdict(evidence=[SPECTRUM])), explanation(verdict(evidence=[SPECTRUM])))
    document = Document(text)
    ids = document.attributes("id")
    assert len(ids) == len(set(ids))
    references = [link[1:] for link in document.attributes("href") if link.startswith("#")]
    references += [name for names in document.attributes("aria-labelledby") for name in names.split()]
    references += re.findall(r"url\(#([^)]+)\)", text)
    assert references
    assert set(references) - {"top"} <= set(ids)


def test_every_picture_has_a_text_alternative():
    document = Document(html(explanation(verdict(evidence=[SPECTRUM])), explanation()))
    assert all("alt" in attributes for tag, attributes in document.elements if tag == "img")
    drawings = [attributes for tag, attributes in document.elements if tag == "svg"]
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in drawings)
    described = re.findall(
        r"<svg[^>]*role=\"img\"[^>]*><title[^>]*>([^<]+)</title><desc[^>]*>([^<]+)</desc>",
        html(explanation()),
    )
    assert [title for title, _ in described] == ["Where the score lies"]
    assert "The score is 1.5." in described[0][1]


def test_the_page_names_its_language_and_headings_do_not_skip_a_level():
    document = Document(html(explanation(verdict(evidence=[SPECTRUM])), failed()))
    assert ("html", {"lang": "en"}) in document.elements
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_both_schemes_define_the_same_colours():
    assert figures.LIGHT.keys() == figures.DARK.keys()
    text = html(explanation())
    for scheme in (figures.LIGHT, figures.DARK):
        assert all(f"--{name}: {colour};" in text for name, colour in scheme.items())


# Odd inputs and odd evidence

NAN = np.full(12, np.nan)
BAND = ("this image", "real, mean", "real, lower", "real, upper")
ODD = {
    "no calibration scores": {"real_scores": np.array([]), "fake_scores": np.array([])},
    "infinite thresholds": {"low": -np.inf, "high": np.inf},
    "equal scores": {"real_scores": np.ones(3), "fake_scores": np.ones(3), "low": 1.0, "high": 1.0},
    "a bad calibration score": {"real_scores": np.array([np.nan, 1.0])},
    "no picture": {"picture": None},
    "one pixel": {"picture": np.zeros((1, 1, 3), np.uint8)},
    "a line": {"picture": np.zeros((1, 5000, 3), np.uint8)},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD.keys())
def test_odd_inputs_are_drawn(changes):
    Document(html(explanation(verdict(evidence=[replace(SPECTRUM, name="attention")]), **changes)))


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence("heatmap", "spectrum", np.full((9, 9), -np.inf), "u", "c"),
        Evidence("heatmap", "map", np.full((1, 1), np.nan), "u", "c"),
        Evidence("curve", "curve", NAN, "u", "c"),
        Evidence("curve", "influence", np.zeros((1, 12)), "u", "c"),
        Evidence("curve", "profile", np.stack([NAN] * 4), "u", "c", BAND),
        Evidence("curve", "profile", np.ones((4, 1)), "u", "c", BAND),
        Evidence("scalar", "number", np.array(np.nan), "u", "c"),
    ],
    ids=lambda evidence: evidence.name,
)
def test_odd_evidence_is_drawn(evidence):
    Document(html(explanation(verdict(evidence=[evidence]))))


def test_a_score_that_is_not_finite_is_not_drawn():
    assert 'role="img"' not in html(explanation(verdict(score=float("nan"))))


# The same every time, in little memory, whole or not at all


def test_the_same_input_gives_the_same_bytes_whatever_matplotlib_is_set_to():
    import matplotlib as mpl

    first = html(explanation(verdict(evidence=[SPECTRUM])))
    with mpl.rc_context(
        {
            "font.size": 30,
            "axes.grid": False,
            "svg.hashsalt": "other",
            "xtick.major.size": 20,
            "lines.linewidth": 9,
        }
    ):
        assert html(explanation(verdict(evidence=[SPECTRUM]))) == first
        assert mpl.rcParams["font.size"] == 30


def test_threads_draw_the_same_page():
    expected = html(explanation())
    found = []
    threads = [threading.Thread(target=lambda: found.append(html(explanation()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_explanations_are_let_go_one_by_one():
    alive = []

    def explanations():
        for _ in range(5):
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 1
            picture = np.zeros((20, 20, 3), np.uint8)
            alive.append(weakref.ref(picture))
            yield failed(picture=picture)

    assert html(*()) != "".join(page(explanations(), title="t", detector="d"))
    assert len(alive) == 5


def test_long_pages_are_spooled_to_disk_and_come_back_whole(monkeypatch):
    few = html(failed(name="ä.jpg"), failed(name="b.jpg"))
    # The package's attribute of that name is the function.
    monkeypatch.setattr(sys.modules["tellsign.explain.page"], "SPOOL", 10)
    assert html(failed(name="ä.jpg"), failed(name="b.jpg")) == few


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "page.html"
    write_page([explanation()], path, title="Title", detector="spectrum@1a2b3c")
    assert path.read_text(encoding="utf-8") == html(explanation())

    def broken():
        yield explanation()
        raise OSError("the camera was unplugged")

    with pytest.raises(OSError, match="unplugged"):
        write_page(broken(), path, title="t", detector="d")
    assert path.read_text(encoding="utf-8") == html(explanation())
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_written_says_so_without_a_path(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write 'page\.html'") as error:
        write_page([failed()], tmp_path / "missing" / "page.html", title="t", detector="d")
    assert str(tmp_path) not in str(error.value)


def test_the_shipped_evidence_fits_a_small_page():
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(3, 600, 800)).astype(np.float32)
    options = ProfileInput()
    mean = profile(image, options)
    arrays = {"band.real_mean": mean, "band.real_std": 0.1 + 0 * mean, "band.fake_mean": mean + 0.1}
    evidence = profile_evidence(image, options, arrays, lambda batch: batch["profile"].sum(axis=1))
    text = html(
        explanation(verdict(evidence=evidence), picture=(255 * image.transpose(1, 2, 0)).astype(np.uint8))
    )
    titles = re.findall(r"<h4>([^<]+)</h4>", text)
    assert titles == ["Where the score lies", *plots.TITLES.values()]
    assert len(re.sub(r"src=\"data:[^\"]+", "", text)) < 200_000  # noise is the worst a JPEG can meet
    assert len(text) < 500_000


def test_neither_matplotlib_nor_jinja_is_imported_before_something_is_drawn():
    code = (
        "import sys, tellsign.explain; print({'matplotlib', 'jinja2', 'scipy', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# Picture files


def test_plots_are_saved_as_png_files(tmp_path):
    item = explanation(verdict(evidence=[SPECTRUM, replace(SPECTRUM, name="../../log spectrum"), SPECTRUM]))
    paths = save_pictures(item, tmp_path / "new")
    assert len(set(paths)) == 4
    assert {path.parent for path in paths} == {tmp_path / "new"}
    assert paths[0].name == "photo-abababab-score.png"
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert picture.width == 1080
            assert not picture.info.keys() & {"Software", "Creation Time", "date:create"}
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in save_pictures(item, tmp_path / "new")] == before


def test_a_failed_input_has_no_pictures(tmp_path):
    assert save_pictures(failed(), tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        save_pictures(explanation(), tmp_path / "file")


# Wrong explanations


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"picture": np.zeros((3, 8, 8), np.uint8)}, r"uint8 \(H, W, 3\), found uint8 \(3, 8, 8\)"),
        ({"picture": np.zeros((8, 8, 3))}, "float64"),
        ({"kind": "sound"}, "image or video, found 'sound'"),
    ],
)
def test_wrong_explanations_are_refused(changes, match):
    with pytest.raises(ConfigError, match=match):
        explanation(**changes)


def test_an_explanation_needs_a_verdict_or_a_reason():
    with pytest.raises(ConfigError, match="needs the reason"):
        failed(error=None)
