#!/usr/bin/env bash
# Writes docs/results/upconv-generators/NAME.txt and NAME.png: what the studies of generators give on the data at hand.
# Run from the project's root: bash docs/generators.sh CELLS [NAME...]. CELLS is the folder of all that is trained:
# it can be stopped at any time and started again, finished cells are read, the one that was at work goes on.
#
# Auto-encoders learn native patches of scenes (bsds500), GANs faces of 64 pixels (the reals of stylegan140k's split
# train, the square in the middle, resized). TELLSIGN_DATA: folder with manifest.csv. CONFIGS: folder with
# generators-autoencoder.toml and generators-gan.toml, by default configs/. BIN: folder of the tellsign command.
set -euo pipefail
cells=$1
shift
data=${TELLSIGN_DATA:-../shared/data}
configs=${CONFIGS:-configs}
bin=${BIN:-.venv/bin}
tellsign=$bin/tellsign python=$bin/python
work=out/generators results=${RESULTS:-docs/results/upconv-generators}
mkdir -p "$work" "$results" "$cells"

index() { # NAME DATASET: reals and fakes of a source, with the splits that it comes with
  "$tellsign" data index "$data/manifest.csv" --skip-label features --no-videos --checksums --dataset "$2" \
    -o "$work/$1.csv" 2> /dev/null
}
[ -s "$work/faces.csv" ] || index faces stylegan140k
if [ ! -s "$work/scenes.csv" ]; then
  index scenes-all bsds500
  "$python" configs/patches.py "$work/scenes-all.csv" 64 "$work/patches" 12
  "$tellsign" data split "$work/patches/manifest.csv" --part train=0.7 --part valid=0.15 --part test=0.15 --seed 0 \
    -o "$work/scenes.csv" 2> /dev/null
fi

# In the order of what they share: the first of a kind trains what the next ones draw.
auto_encoders=(upconv-fig5 upconv-fig6 upconv-fig21 upconv-fig20 upconv-pictures upconv-loss upconv-detectors-restored
  upconv-fig7 upconv-fig8)
gans=(upconv-fig12 upconv-pictures-gan upconv-fig13 upconv-fig14 upconv-detectors upconv-fig1-trained upconv-fig11
  upconv-fig22)
names=("$@")
[ $# -gt 0 ] || names=("${auto_encoders[@]}" "${gans[@]}")
for name in "${names[@]}"; do
  kind=gan images=faces
  [[ " ${auto_encoders[*]} " == *" $name "* ]] && kind=autoencoder images=scenes
  {
    echo "\$ tellsign reproduce $name --data $images.csv --config generators-$kind.toml -o cells"
    "$tellsign" reproduce "$name" --data "$work/$images.csv" --config "$configs/generators-$kind.toml" -o "$cells" \
      2> "$work/$name.log" | sed "s|$cells|cells|g"
  } > "$work/$name.txt"
  mv "$work/$name.txt" "$results/$name.txt"
  # These two show images of the data, which not everybody may be given.
  [[ " upconv-fig6 upconv-pictures " != *" $name "* ]] || continue
  [ ! -f "$cells/$name.png" ] || cp "$cells/$name.png" "$results/$name.png"
done
