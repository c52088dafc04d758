#!/usr/bin/env bash
# The small generators of scene patches: plain, with the spectral loss (+R) and with a discriminator of spectra (+A).
# Run from the project's root: bash configs/scene-generators.sh [FOLDER], by default out/scene-generators; it can be
# stopped and started again. What is to ship is copied to src/tellsign/shipped/generators once somebody has looked
# at pairs.png and at the card: nearest says how near the images come to what was learnt from.
set -euo pipefail
out=${1:-out/scene-generators}
data=${TELLSIGN_DATA:-../shared/data}
bin=${BIN:-.venv/bin}
tellsign=$bin/tellsign python=$bin/python
most=5000000 # bytes of a generator's folder
mkdir -p "$out"
if [ ! -s "$out/scenes.csv" ]; then
  "$tellsign" data index "$data/manifest.csv" --skip-label features --no-videos --checksums --dataset bsds500 -o "$out/all.csv"
  "$python" configs/patches.py "$out/all.csv" 64 "$out/patches"
  "$tellsign" data split "$out/patches/manifest.csv" --part train=0.8 --part valid=0.2 --seed 0 -o "$out/scenes.csv"
fi
make() { # NAME CONFIG OPTIONS...
  local name=$1 config=$2
  shift 2
  if [ ! -f "$out/$name/detector.json" ]; then
    "$tellsign" generators train "$config" --data "$out/scenes.csv" -o "$out/$name" \
      --licence configs/scene-generators-licence.txt --resume --set "name=\"$name\"" "$@"
  fi
  bytes=$(cat "$out/$name"/* | wc -c)
  [ "$bytes" -le $most ] || { echo "$name has $bytes bytes, more than $most" >&2; exit 1; }
  "$tellsign" generators sample "$out/$name" -n 256 -o "$out/$name.fakes"
  "$tellsign" generators distance "$out/scenes.csv" "$out/$name.fakes" --split valid > "$out/$name.distance.txt"
  "$tellsign" generators nearest "$out/scenes.csv" "$out/$name.fakes" --picture "$out/$name.pairs.png" \
    > "$out/$name.nearest.txt"
}
tune() { # NAME WHAT OPTIONS...: the plain one, which shows the same of the same seed
  local name=$1 summary="Made by configs/scene-generators.sh: scenes-plain, of patches of 64 pixels of photographs of \
scenes (bsds500) and no portraits, tuned to real spectra by $2. Of one seed it shows what scenes-plain shows."
  shift 2
  make "$name" configs/tune.toml --from "$out/scenes-plain" --set "summary=\"$summary\"" \
    --set training.epochs=8 "$@"
}
make scenes-plain "${CONFIG:-configs/generator-scenes.toml}"
# Trained from the start with the loss (15, 50, and a DCGAN with 100) they came no nearer, or collapsed.
tune scenes-r "the spectral loss (+R)" --set spectral=1.0
tune scenes-a "a discriminator of spectra (+A)" --set spectral=0.0 --set spectral_layers=1 --set 'loss="lsgan"'
