#!/usr/bin/env bash
# From the data to the shipped detector and its card. Called by `make default-detector`, from the project's root.
# DATA: folder with manifest.csv. BIN: folder of the tellsign command.
set -euo pipefail
work=out/default-detector
detector=src/tellsign/shipped/spectrum
size=240 quality=75 # the largest square that every training source has; the quality most of it comes with
mkdir -p "$work"

index() { # NAME DATASET...: a manifest of some sources
  local name=$1 options=()
  shift
  for dataset in "$@"; do options+=(--dataset "$dataset"); done
  "$BIN/tellsign" data index "$DATA/manifest.csv" --skip-label features --no-videos --checksums \
    "${options[@]}" -o "$work/$name.csv"
}
harmonise() { # NAME: the same images in one size and quality; images that are too small are named and left out
  "$BIN/tellsign" data harmonise "$work/$1.csv" --size $size --quality $quality -o "$work/$1" || [ $? = 1 ]
}
evaluate() { # NAME MANIFEST OPTIONS...
  local name=$1 manifest=$2
  shift 2
  "$BIN/tellsign" evaluate "$detector" --data "$manifest" "$@" --json > "$work/$name.json"
}

# Trained on: sources with both classes in one format, and photographs of other subjects than faces.
index training stylegan140k cnnd10 realorai bsds500 ffhq1024
harmonise training
"$BIN/tellsign" data split "$work/training/manifest.csv" --part train=0.65 --part valid=0.35 --seed 0 --keep-test \
  -o "$work/training/split.csv"
"$BIN/python" configs/choose.py configs/spectrum.toml "$work/training/split.csv" > "$work/choose.txt"
"$BIN/tellsign" train configs/spectrum.toml --data "$work/training/split.csv" -o "$detector"

# Measured on: the test split; a photo source kept out of training and calibration (imagenet_samples); sources that
# training never saw, whole; and the same as they come, unharmonised, as a user would scan them. The last two hold
# images that are too small to be scored: these are left out of the metrics, and the card states the coverage.
index unseen imagenet_samples sr_sets celebahq_pggan beyond sd3_portraits ciplab
harmonise unseen
index small durall dfdc_faces
evaluate test "$work/training/split.csv" --split test
evaluate unseen "$work/unseen/manifest.csv"
evaluate native "$work/unseen.csv" --missing exclude
evaluate small "$work/small.csv" --missing exclude
"$BIN/python" configs/write_card.py "$detector" "$work"
