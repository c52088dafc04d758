#!/usr/bin/env bash
# Writes docs/results/SYSTEM/NAME.txt, and NAME.png where it is a figure: what the trained tables of
# `tellsign reproduce` give on the data at hand.
# Run from the project's root: bash docs/results.sh CELLS [NAME...]. CELLS is the folder of trained cells: what is
# there already is not trained again.
set -euo pipefail
cells=$(realpath "$1")
shift
data=$(realpath "${TELLSIGN_DATA:-../shared/data}")
root=$PWD
tellsign=$root/.venv/bin/tellsign
mkdir -p out/results
cd out/results
ln -sfn "$cells" cells # what is printed names no folder of this machine
index() { # FILE DATASET...
  local file=$1
  shift
  "$tellsign" data index "$data/manifest.csv" --skip-label features --no-videos "${@/#/--dataset=}" -o "$file" 2> /dev/null
}
index stylegan140k.csv stylegan140k
index others.csv sd3_portraits realorai
others=(cae-net-robustness sfcl-sida sfcl-table2)
all=(cae-net-singles cae-net-robustness cae-net-balancing cae-net-retention cae-net-options cae-net-fgsm cae-net-wavelet
  cae-net-frequency cae-net-roc cae-net-confusion cae-net-tsne cae-net-cost sfcl-sida sfcl-table1 sfcl-table2 sfcl-table3
  sfcl-table4 sfcl-sida-plot)
for name in "${@:-${all[@]}}"; do
  folder=$root/docs/results/${name%%-*}
  folder=${folder/%cae/cae-net}
  folder=${folder/%sfcl/sfcl-hcmf}
  mkdir -p "$folder"
  given=()
  [[ " ${others[*]} " == *" $name "* ]] && given=(--others others.csv)
  {
    echo "\$ tellsign reproduce $name --data stylegan140k.csv ${given:+--others others.csv }-o cells"
    "$tellsign" reproduce "$name" --data stylegan140k.csv "${given[@]}" -o cells 2> /dev/null
  } > "$folder/$name.txt"
  [[ ! -f cells/$name.png ]] || cp "cells/$name.png" "$folder/"
done
