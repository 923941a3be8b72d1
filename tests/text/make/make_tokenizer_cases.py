"""Makes ../tokenizer_cases/*.json: small tokenizers in the layouts of published models, and what Hugging Face's library
makes of texts. Each file: {"tokenizer": tokenizer.json, "cases": [[text, add_special, parse_special, ids, decoded]…]}."""

import json
from pathlib import Path

from tokenizers import Tokenizer

from layouts import LAYOUTS
from texts import cases

FOLDER = Path(__file__).resolve().parents[1] / "tokenizer_cases"
CHOSEN = ["", " ", "  ", "boat", " boat", "  boat  ", "The gull", "a\nb", "Möwe 港 😀", "e\u0301", "I'll I'LL", "x  y\t\tz\n\n", "▁", "1234567",
          "<s>boat</s> boat", "harbourmaster harbourmaster", "line\r\n  line", "\x00\x7f", "😀😀"]


def main():
    FOLDER.mkdir(exist_ok=True)
    for seed, (name, layout) in enumerate(LAYOUTS.items()):
        described = layout()
        theirs = Tokenizer.from_str(json.dumps(described))
        added = theirs.get_added_tokens_decoder().values()
        # Of normalised added tokens the library decodes the normalised text (0.23), which is not wanted.
        decodes = not any(token.normalized for token in added)
        out = []
        for text, add_special, parse_special in [(text, True, True) for text in CHOSEN] + list(
                cases(seed, [token.content for token in added], 25)):
            theirs.encode_special_tokens = not parse_special
            ids = theirs.encode(text, add_special_tokens=add_special).ids
            if not parse_special and any(token.special and token.content in text for token in added):
                continue  # the library writes control tokens of plain text where the vocabulary has them
            decoded = theirs.decode(ids)
            out.append([text, add_special, parse_special, ids, decoded if decodes and "\ufffd" not in decoded else None])
        lines = ",\n".join(json.dumps(case) for case in out)
        tokenizer = json.dumps(described, ensure_ascii=False, separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(f'{{"tokenizer":{tokenizer},\n"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
