#!/usr/bin/env bash
# Writes docs/results/SYSTEM/NAME.txt: what the trained tables of `tellsign reproduce` give on the data at hand.
# Run from the project's root: bash docs/results.sh CELLS [NAME...]. CELLS is the folder of trained cells: what is
# there already is not trained again.
set -euo pipefail
cells=$1
shift
data=${TELLSIGN_DATA:-../shared/data}
work=out/results
mkdir -p "$work"
tellsign=.venv/bin/tellsign
index() { # FILE DATASET...
  local file=$1
  shift
  "$tellsign" data index "$data/manifest.csv" --skip-label features --no-videos "${@/#/--dataset=}" -o "$file" 2> /dev/null
}
index "$work/stylegan140k.csv" stylegan140k
index "$work/others.csv" sd3_portraits realorai
others=(cae-net-robustness sfcl-sida sfcl-table2)
all=(cae-net-singles cae-net-robustness cae-net-balancing cae-net-retention cae-net-options cae-net-fgsm cae-net-wavelet
  cae-net-frequency cae-net-roc cae-net-confusion cae-net-tsne cae-net-cost sfcl-sida sfcl-table1 sfcl-table2 sfcl-table3
  sfcl-table4 sfcl-sida-plot)
for name in "${@:-${all[@]}}"; do
  folder=docs/results/${name%%-*}
  folder=${folder/%cae/cae-net}
  folder=${folder/%sfcl/sfcl-hcmf}
  mkdir -p "$folder"
  given=()
  [[ " ${others[*]} " == *" $name "* ]] && given=(--others "$work/others.csv")
  {
    echo "\$ tellsign reproduce $name --data stylegan140k.csv ${given:+--others others.csv }-o cells"
    "$tellsign" reproduce "$name" --data "$work/stylegan140k.csv" "${given[@]}" -o "$cells" 2> /dev/null
  } > "$folder/$name.txt"
done
