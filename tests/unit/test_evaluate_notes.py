"""What tables of trainings say of themselves: machine, choice of the configuration, number of verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from tellsign.data import Manifest
from tellsign.evaluate import notes
from tellsign.evaluate.reproduce import Row
from tellsign.types import Sample


def test_the_machine_is_what_the_run_folders_say(tmp_path):
    at = {"device": "x86_64", "threads": 2, "processes": 1}
    for name, versions in (("deit", at), ("convnext", at), ("damaged", None)):
        (tmp_path / name / "training").mkdir(parents=True)
        (tmp_path / name / "training" / "run.json").write_text(json.dumps({"versions": versions}))
    cells = [SimpleNamespace(run=tmp_path)]
    assert notes.machines(cells) == "x86_64 with 2 threads"
    other = {**at, "device": "a card", "processes": 4}
    (tmp_path / "deit" / "training" / "run.json").write_text(json.dumps({"versions": other}))
    assert notes.machines(cells) == "a card with 2 threads in each of 4 processes, x86_64 with 2 threads"
    assert "no record" in notes.machines([SimpleNamespace(run=tmp_path / "none")])


def test_the_head_of_a_configuration_is_shown_as_far_as_it_is_a_comment(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('# Chosen on fold 3.\n#Seven trials.\nsystem = "x"\n# not of the head\n')
    expected = "The configuration, it, says of itself: Chosen on fold 3. Seven trials."
    assert notes.head(file, "it") == expected
    file.write_text('system = "x"\n# not of the head\n')
    assert notes.head(file, "it") == ("The configuration, it, does not say on which images it was chosen.")


def test_verdicts_are_counted_where_there_are_several():
    judged = Row("a - b", "AUROC, difference", reproduced=0.1, ci=(0.0, 0.2))
    others = [Row("a", "AUROC", reproduced=0.5, ci=(0.4, 0.6)), Row("a - c", "AUROC, difference")]
    assert notes.multiplicity([judged, *others]) == ()
    (sentence,) = notes.multiplicity([judged, judged, *others])
    assert sentence.startswith("2 differences, each judged at 95 %")


def test_other_images_that_were_trained_on_are_counted():
    images, others = (
        Manifest(tuple(Sample(Path(f"{place}/{name}.png"), 0, sha256=name) for name in names))
        for place, names in (("a", "xyz"), ("b", "zw"))
    )
    (sentence,) = notes.seen_before(images, others)
    assert sentence.startswith("1 images of the other sources are in the manifest too")
    assert notes.seen_before(images, others.filter(sha256="w")) == notes.seen_before(images, None) == ()
