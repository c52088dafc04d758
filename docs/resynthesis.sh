#!/usr/bin/env bash
# Trains what the tables of detection by re-synthesis measure on the data at hand, and writes them to
# docs/results/resynthesis. Run from the project's root: bash docs/resynthesis.sh [STEP...]; without a step all of them.
#
#   data        folds of stylegan140k, reals for the re-synthesiser, Set5 and Set14
#   quality     a re-synthesiser of reals alone, pixel loss: PSNR and SSIM
#   split       all methods on fold 1, SR, SR+C and SR+D
#   folds       the headline methods on the other folds
#   pairs       each real of fold 1 beside its re-synthesis, and all methods trained on these
#   attack      a second re-synthesiser that differs in its seed, and a detector with it
#   full        one step of each phase at full size, a kill and a resume, with time and memory
#   tables      reproduce, benchmark and attack, from what there is
#
# It goes on where it was stopped: what is trained is not trained again. WORK is its folder (out/resynthesis), DATA the
# images. TRIAL=N takes N images a class, 140 or more, and an epoch, to see that everything runs.
set -euo pipefail
data=${TELLSIGN_DATA:-../shared/data}
work=${WORK:-out/resynthesis}
bin=${BIN:-.venv/bin}
results=${RESULTS:-docs/results/resynthesis}
trial=${TRIAL:-}
k=5
cells=$work/cells
[ -n "$trial" ] && k=2
split=fold-1-of-$k

# The paper's over 20, but for the pixels': differences in the stages of the detector here are so much larger.
loss_weights='[1, 0.0015625, 0.003125, 0.00625, 0.0125, 0.05]'

# What 48 images of a class support; tables are of scores that are not calibrated.
brief=(--set calibration.fpr=0.1 --set calibration.fnr=0.1 --set calibration.domain_quantile=0.95)
networks=()
if [ -n "$trial" ]; then
  brief=(--set calibration.fpr=0.75 --set calibration.fnr=0.75 --set calibration.domain_quantile=0.5)
  networks=(--set config.training.epochs=1 --set config.training.batch_size=8)
fi

train() { # FOLDER CONFIG MANIFEST OPTIONS...
  local out=$1 config=$2 manifest=$3 resume=() begun
  shift 3
  [ -e "$out/detector.json" ] && return
  [ -e "$out.run" ] && resume=(--resume)
  mkdir -p "$(dirname "$out")"
  begun=$(date +%s)
  "$bin/tellsign" train "configs/$config.toml" --data "$manifest" -o "$out" "${resume[@]}" "${brief[@]}" "$@"
  echo "$out $(($(date +%s) - begun)) s in the last session" >> "$work/seconds.txt"
}

network() { # FOLDER CONFIG MANIFEST OPTIONS...: of a system with a [config.training]
  local out=$1 config=$2 manifest=$3
  shift 3
  train "$out" "$config" "$manifest" "$@" "${networks[@]}"
}

resynthesis() { # FOLDER MANIFEST OPTIONS...: pixels and the fifth stage of the plain-image detector beside it
  local out=$1 manifest=$2 more=()
  shift 2
  [ -n "$trial" ] && more=(--set config.reconstruction.training.epochs=1 --set config.reconstruction.views=1)
  network "$out" resynthesis-small "$manifest" --set 'config.stages=[0, 5]' \
    --set "config.reconstruction.loss_weights=$loss_weights" \
    --set "config.perceptual={network=\"detector\", detector=\"$(dirname "$out")/image\"}" "$@" "${more[@]}"
}

methods() { # FOLDER MANIFEST: a detector of every kind, the plain image first, whose stages the others look through
  local config
  network "$1/image" image-small "$2"
  for config in fft2d dct2d gramnet; do network "$1/$config" "$config-small" "$2"; done
  # At the side of the networks' crops, and not chosen by a grid: one configuration for all folds.
  train "$1/spectrum" spectrum "$2"
  train "$1/prnu" prnu "$2" --set 'grid.sigma=[5.0]'
  resynthesis "$1/resynthesis-sr" "$2"
}

step_data() {
  [ -e "$work/images.csv" ] && return
  mkdir -p "$work"
  "$bin/tellsign" data index "$data/manifest.csv" --skip-label features --no-videos --checksums \
    --dataset stylegan140k --dataset bsds500 --dataset sr_sets --dataset beyond -o "$work/index.csv"
  "$bin/python" - "$work" "$k" "${trial:-0}" << 'PY'
import sys
from dataclasses import replace
from pathlib import Path

from tellsign.data import Manifest, read, write
from tellsign.evaluate.folds import folds
from tellsign.evaluate.resynthesis.crossed import fold_manifest, fold_name
from tellsign.evaluate.samples import evenly

work, k, n = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
index = read(work / "index.csv")
faces = [replace(s, generator="StyleGAN" if s.label else "", split="") for s in index.filter(dataset="stylegan140k")]
images = Manifest(tuple(faces))
images = evenly(images, 2 * n) if n else images
parts = folds(images, k, seed=0)
for fold in parts:
    write(fold_manifest(fold), work / f"{fold_name(fold.number, k)}.csv")
# Reals of the training part and photographs; one of these is nearly a picture of Set5.
photographs = [
    replace(s, split="train") for s in index.filter(dataset="bsds500") if "302003" not in s.path.name
][: n or None]
write(Manifest((*parts[0].train, *parts[0].valid, *photographs)), work / "reals.csv")
sets = [replace(s, dataset=s.path.name.partition("_")[0], split="test") for s in index.filter(dataset="sr_sets")]
write(Manifest(tuple(sets)), work / "sets.csv")
names = {"progan_celebahq": "ProGAN", "stylegan_celebahq": "StyleGAN", "": ""}
beyond = [replace(s, generator=names[s.generator], split="test") for s in index.filter(dataset="beyond")]
write(Manifest(tuple(beyond)), work / "beyond.csv")
write(images, work / "images.csv")  # last: it says that all are there
PY
}

step_quality() {
  # Its classifier sees photographs among the reals alone, and is of no use; an epoch of it is what `train` asks for.
  local more=(--set config.reconstruction.training.epochs=40)
  [ -n "$trial" ] && more=(--set config.reconstruction.training.epochs=2)
  train "$work/quality/faces-and-photographs/resynthesis-sr" resynthesis-small "$work/reals.csv" \
    --set config.training.epochs=1 "${more[@]}"
}

step_split() {
  methods "$cells/$split" "$work/$split.csv"
  resynthesis "$cells/$split/resynthesis-sr-c" "$work/$split.csv" --set 'config.degradation="colour"'
  resynthesis "$cells/$split/resynthesis-sr-d" "$work/$split.csv" --set 'config.degradation="noise"'
}

step_folds() {
  local number place
  for number in $(seq 2 $k); do
    place=fold-$number-of-$k
    network "$cells/$place/image" image-small "$work/$place.csv"
    network "$cells/$place/dct2d" dct2d-small "$work/$place.csv"
    train "$cells/$place/spectrum" spectrum "$work/$place.csv"
    resynthesis "$cells/$place/resynthesis-sr" "$work/$place.csv"
  done
}

step_pairs() {
  # Both of a pair with the JPEG quality that the reals come with.
  "$bin/tellsign" data resynthesise "$work/$split.csv" -d "$cells/$split/resynthesis-sr" --only-real --quality 75 \
    -o "$work/pairs"
  methods "$cells/pairs" "$work/pairs/manifest.csv"
}

step_attack() {
  # The other re-synthesiser from seed 1; the detector with it from seed 0, as the first one.
  resynthesis "$cells/$split/resynthesis-seed-1" "$work/$split.csv" --set seed=1 --set config.training.epochs=1
  resynthesis "$cells/$split/resynthesis-other" "$work/$split.csv" \
    --set "config.network.weights=\"$cells/$split/resynthesis-seed-1/weights.safetensors\""
}

step_full() {
  [ -e "$results/full-size.md" ] && return
  mkdir -p "$results"
  "$bin/python" -m benchmarks.full_size_resynthesis > "$work/full-size.md"
  mv "$work/full-size.md" "$results/full-size.md"
}

shown() { # FILE COMMAND...: the command and what it prints
  local file=$results/$1.txt
  shift
  {
    echo "\$ tellsign $*" | sed "s|$work/||g; s|$work|.|g"
    "$bin/tellsign" "$@" | sed "s|$work/||g"
  } > "$file.new"
  mv "$file.new" "$file"
}

step_tables() {
  mkdir -p "$results"
  local tables=$work/tables name
  shown folds reproduce resynthesis-folds --data "$work/images.csv" --folds $k -o "$cells"
  shown quality reproduce resynthesis-quality --data "$work/sets.csv" -o "$work/quality"
  # The paper's rows from detectors of these faces: not CelebA-HQ, and ProGAN's columns stay empty. Tables 2 and 3 and
  # figure 6 are of images that are not here.
  mkdir -p "$tables"
  ln -sfn "$(realpath "$cells/$split")" "$tables/celeba-hq-stylegan"
  for name in table1 fig4; do
    shown $name reproduce resynthesis-$name --data "$work/$split.csv" -o "$tables"
  done
  [ -e "$tables/resynthesis-fig4.png" ] && cp "$tables/resynthesis-fig4.png" "$results/fig4.png"
  shown pairs benchmark configs/benchmark-resynthesis.toml -o "$work/benchmark" --set "root=$work" \
    --set "data.stylegan.manifest=$split.csv"
  shown attack attack "$cells/$split/resynthesis-sr" --data "$work/$split.csv" --split test \
    --limit "$([ -n "$trial" ] && echo 4 || echo 50)" --transfer "$cells/$split/resynthesis-other" \
    --attack pgd:0.01 --attack pgd:0.02 --attack pgd:0.03
}

for step in "${@:-data quality split folds pairs attack full tables}"; do
  for one in $step; do
    echo "== $one" >&2
    "step_$one"
  done
done
