#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A GGUF is one whatever its name, of version 2 or 3, in one file or in several: the programs that
# open a model make the same rows and the same episode of it as of the folder that it came from.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
folder=$model
make_gguf() { python3 "$RAISE_TESTS/gguf_make.py" "$folder" "$@"; }
records pool 24 >pool.jsonl
records val 4 >val.jsonl
embed() { # model out
    raise-embed -q -t 1 -m "$1" --precision fp32 --template plain -d 8 --no-provenance -o "$2" pool.jsonl
}
episode() { # model out
    raise-rollout -q -t 1 -m "$1" --precision fp32 --template plain -f f.st.zst -p p.st.zst -d pool.jsonl \
        --val val.jsonl --batch 4 --steps 2 --lora-rank 4 --no-provenance -o "$2"
}
refused() { # model pattern
    if embed "$1" x.st.zst 2>err; then exit 1; fi
    grep -q -- "^raise-embed: $2" err || { cat err; exit 1; }
}

embed "$folder" want.st.zst
raise-cluster -q -k 2 -t 1 want.st.zst >f.st.zst
raise-ppo -q --init -f f.st.zst -o p.st.zst
episode "$folder" want.traj
raise-rollout --show 3 -m "$folder" -d pool.jsonl --template plain >want.show

make_gguf weights            # no suffix
make_gguf model.safetensors  # another kind's
make_gguf old.gguf 2         # its second version
make_gguf split.gguf 3 4     # split.gguf-00001-of-00004.gguf
make_gguf half.gguf type=BF16 # kept as it is, rows of q and k back in their order
for model in weights model.safetensors old.gguf half.gguf split.gguf-00001-of-00004.gguf; do
    embed "$model" got.st.zst && cmp want.st.zst got.st.zst
    episode "$model" got.traj && cmp want.traj got.traj
    raise-rollout --show 3 -m "$model" -d pool.jsonl --template plain | cmp want.show -
done

# parts that are not there, are another's, or are not the first
refused split.gguf-00002-of-00004.gguf 'split.gguf-00002-of-00004.gguf: part 2 of 4: .*, split.gguf-00001-of-00004.gguf$'
mkdir alone
cp split.gguf-00001-of-00004.gguf alone
refused alone/split.gguf-00001-of-00004.gguf 'alone/split.gguf-00001-of-00004.gguf: part 1 of 4, and split.gguf-00002-of-00004.gguf is not beside it$'
cp split.gguf-00001-of-00004.gguf alone/renamed
refused alone/renamed 'alone/renamed: part 1 of 4, but not named '
cp split.gguf-0000[123]* alone
cp split.gguf-00003-of-00004.gguf alone/split.gguf-00004-of-00004.gguf
refused alone/split.gguf-00001-of-00004.gguf 'alone/split.gguf-00004-of-00004.gguf: is not part 4 of 4$'
make_gguf one.gguf 1
refused one.gguf 'one.gguf: GGUF version 1, only versions 2 and 3 are read$'
