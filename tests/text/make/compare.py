"""Compares tokenize_lines with Hugging Face's tokenizers on random texts: compare.py TOKENIZE_LINES COUNT [LAYOUT…].
Another COUNT gives other texts. LAYOUT: a name of layouts.py, LAYOUT=FILE (a sentencepiece model in that layout), or a folder with a tokenizer.json."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from layouts import LAYOUTS, from_sentencepiece
from texts import cases


def folder_of(layout, parent):
    if Path(layout).is_dir():
        return Path(layout)
    name, _, model = layout.partition("=")
    folder = Path(parent) / layout.replace("/", "_")
    folder.mkdir()
    described = from_sentencepiece(model, name) if model else LAYOUTS[name]()
    (folder / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False))
    return folder


def compare(program, layout, count, parent, seed):
    folder = folder_of(layout, parent)
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = theirs.get_added_tokens_decoder()
    specials = [token.content for token in added.values()]
    control = {id: token.content for id, token in added.items() if token.special}
    # Their decoder writes added tokens as normalised, and control tokens too where that changes them.
    decodes = not any(token.normalized for token in added.values())
    unigram = json.loads(theirs.to_str())["model"]["type"] == "Unigram"
    wrong = injected = 0
    inputs = list(cases(seed, specials[:40], count))
    lines = "".join(json.dumps(case) + "\n" for case in inputs)
    out = subprocess.run([program, str(folder)], input=lines, capture_output=True, text=True)
    answers = out.stdout.split("\n")[:-1]
    if len(answers) != len(inputs):
        print(f"{layout}: stopped after {len(answers)} texts: {out.stderr}")
        return 1
    for (text, add_special, parse_special), answer in zip(inputs, answers):
        theirs.encode_special_tokens = not parse_special
        ids = theirs.encode(text, add_special_tokens=add_special).ids
        # Their models write control tokens of plain text, where the vocabulary has them; ours never do.
        if not parse_special and any(token in text for token in control.values()) and (
                unigram or set(control) & set(theirs.encode(text, add_special_tokens=False).ids)):
            injected += 1
            continue
        wanted = {"ids": ids, "text": theirs.decode(ids), "all": theirs.decode(ids, skip_special_tokens=False)}
        got = json.loads(answer)
        # Where byte tokens make no UTF-8 they put a U+FFFD for every byte of the run, ours one for each invalid part.
        keys = ["ids"] if not decodes or "\ufffd" in wanted["all"] else list(wanted)
        if any(got.get(key) != wanted[key] for key in keys):
            wrong += 1
            if wrong <= 3:
                print(f"{layout}: {(text, add_special, parse_special)!r}\n  wanted {wanted}\n  got    {answer}")
    print(f"{layout}: {wrong} of {count - injected} differ", flush=True)
    return wrong


def main():
    program, count, *layouts = sys.argv[1:]
    with tempfile.TemporaryDirectory() as parent:
        sys.exit(0 if sum(compare(program, layout, int(count), parent, int(count) * 100 + index)
                          for index, layout in enumerate(layouts or LAYOUTS)) == 0 else 1)


if __name__ == "__main__":
    main()
