#!/usr/bin/env python3
"""Makes ../chat_cases.json and ../chat_template_hashes.json with the real Jinja2, set up as transformers sets it up.

  python3 -m venv VENV && VENV/bin/pip install jinja2==3.1.6 && VENV/bin/python make_chat_cases.py [FOLDER]

FOLDER holds *.jinja files of published models. What they render is not kept, only its length and hash.
"""
import json
import pathlib
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).resolve().parent


class Generation(Extension):
    """{% generation %}: marks what an assistant said, and prints it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment


ENVIRONMENT = make_environment()


def render(source, messages, add_generation_prompt, variables):
    given = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": add_generation_prompt,
             "bos_token": "<s>", "eos_token": "</s>"}
    return ENVIRONMENT.from_string(source).render(**{**given, **variables})


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def call(arguments, name="tide", number="call00001", content=""):
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": content,
            "tool_calls": [{"id": number, "type": "function", "function": function}]}


def result(content, number="call00001"):
    return {"role": "tool", "name": "tide", "content": content, "tool_call_id": number}


TWO_CALLS = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "call00001", "type": "function", "function": {"name": "tide", "arguments": {"port": "Wick"}}},
    {"id": "call00002", "type": "function", "function": {"name": "lamp", "arguments": {}}}]}

CHATS = {
    "one": [user("When does the lamp go on?")],
    "with_system": [system("  You keep a lighthouse.\n"), user("Ships <near> & \"far\", it's fine: é 🙂\n")],
    "turns": [user("One"), assistant(" Two "), user("  Three\n\n"), assistant("Four"), user("Five")],
    "system_and_turns": [system("Count."), user("One"), assistant("Two"), user("Three")],
    "ends_with_assistant": [user("One"), assistant("Two")],
    "call": [user("High tide?"), call({"port": "Hook", "day": 2, "deep": {"metres": [1.5, None, True]}}),
             result("17:04"), assistant("At 17:04."), user("Thanks")],
    "call_of_text": [user("High tide?"), call('{"port": "Hook"}'), result({"tide": [1, 2.5, None, True]}), user("So?")],
    "call_with_words": [system("S"), user("q"), call({"port": "Ålesund"}, content="I look."), result("x"),
                        result("y", "call00002"), assistant("z"), user("n")],
    "two_calls": [user("q"), TWO_CALLS, result("1"), result("2", "call00002"), assistant("both"), user("n")],
    "short_id": [user("q"), call({}, number="c1"), result("r", "c1"), user("n")],
    "own_tool": [user("q"), call({"n": 3, "to": "N"}, name="compass"), result("r"), user("n")],
    "thoughts": [user("a"), assistant("<think>\nold\n</think>\n\nb"), user("c"), assistant("<think>\nnew\nline\n</think>\n\nd")],
    "results_as_user": [user("a"), {"role": "assistant", "content": "x", "thought": "t\n"}, user("<result>1</result>")],
    "parts": [user([{"type": "text", "text": "See"}, {"type": "image"}])],
    "empty": [],
    "only_system": [system("S")],
    "out_of_order": [user("a"), user("b")],
    "other_role": [user("a"), {"role": "bell", "content": {"rings": 3}}, user("b")],
    "null_content": [user(None)],
}

TOOLS = [
    {"type": "function", "function": {
        "name": "tide", "description": "The tide, \"high\" <or> low & 'so'.",
        "parameters": {"type": "object", "properties": {
            "port": {"type": "string", "description": "Größe – naïve"},
            "day": {"type": "integer", "enum": [1, 2, 3]}, "least": {"type": "number", "default": 0.5}},
            "required": ["port"]},
        "return": {"type": "object"}}},
    {"type": "function", "function": {
        "name": "lamp", "description": "Lights it.", "parameters": {"type": "object", "properties": {}}}},
]

VARIABLES = {
    "plain": {},
    "tools": {"tools": TOOLS},
    "dated": {"tools": TOOLS, "date_string": "11 Nov 2026", "tools_in_user_message": False, "tools_first": False,
              "system": "Be kind.", "enable_thinking": False},
    "documents": {"documents": [{"title": "Lamps", "text": " Oil\nand wick. "}, {"text": "Gas."}],
                  "date_string": "01 Jan 2025", "builtin_tools": ["compass"], "built_in": ["compass", "bell"]},
}

# What EXPRESSIONS are about: one between two ;;, of literals, operators, methods, filters and tests.
EXPRESSION_VARIABLES = {
    "i": 7, "f": -2.5, "s": "Hello, World", "e": "", "w": "  a b\t c\n", "u": "é🙂ßǅ", "yes": True, "no": None,
    "l": [3, 1, 2], "m": ["b", "A", "c", ""], "d": {"x": 1, "y": "Y", "items": 5, "z": None},
    "rows": [{"k": "b", "v": 1, "q": {"r": 5}}, {"k": "A", "v": 0}, {"k": "c", "v": None}],
    "mixed": [1, "1", 1.0, True, None, [], {}], "text": "a\n\n b\r\nc",
}
EXPRESSIONS = r"""
1 + 2 * 3 - 4 // 3 % 2 ;; (1 + 2) * 3 ;; 7 / 2 ;; -7 // 2 ;; -7 % 3 ;; 7 % -3 ;; 2 ** 10 ;; 2 ** -1 ;; 1e3 ;; 1_000 ;; 1.0 ;; 0.1 + 0.2
1e16 ;; 123456789.125 ;; 1e-5 ;; -0.0 ;; 1e22 ;; 10 ** 18 ;; True + 1 ;; -i ;; +i ;; 'a' * 3 ;; [0] * 3 ;; 'a' 'b' ;; 'a' ~ 1 ~ none ~ true
i > 5 and f < 0 ;; i < 5 or e ;; not e ;; not i ;; 1 < 2 < 3 ;; 1 < 3 < 2 ;; 'b' in m ;; 'b' not in m ;; 'ell' in s ;; 'x' in d ;; 5 in d
1 == 1.0 ;; true == 1 ;; 'a' == 'b' ;; [1, 2] == [1, 2] ;; [1, 2] < [1, 3] ;; 'a' < 'B' ;; none == false ;; d == {'x': 1}
yes if i else no ;; 'x' if no else 'y' ;; ('x' if no) is defined ;; (1, 2) ;; (1,) ;; () ;; [] ;; {} ;; [1, 'a', none, true, 2.5] ;; {'a': [1], 'b': {'c': "it's"}}
"\x41\u00e9\U0001F642\n\t\\" ;; '\101' ;; 'it\'s' ;; ["it's", 'say "x"', 'both \' "', '\x00\x7f\u00a0'] ;; u ;; [u]
l[0] ;; l[-1] ;; l[5] is undefined ;; l[1:] ;; l[::-1] ;; l[:-1] ;; l[-100:2] ;; s[1:4] ;; s[::-1] ;; s[-5:] ;; u[1] ;; u[::-1] ;; d['x'] ;; d.x ;; d['nothing'] is defined
d.get('x') ;; d.get('n') ;; d.get('n', 'other') ;; d.keys()|list ;; d.values()|list ;; d.items()|list ;; d|length ;; d|list ;; rows[0].q.r ;; rows[0]['q']['r'] ;; rows.0.k
s.upper() ;; s.lower() ;; 'hELLO wORLD'.title() ;; 'hELLO'.capitalize() ;; w.strip() ;; w.lstrip() ;; w.rstrip() ;; s.strip('Hd') ;; s.split(', ') ;; w.split() ;; 'a,b,c'.split(',', 1) ;; 'a,b,c'.rsplit(',', 1)
text.splitlines() ;; s.startswith('He') ;; s.startswith(('x', 'He')) ;; s.endswith('ld') ;; s.removeprefix('Hello') ;; s.removesuffix('World') ;; s.replace('l', 'L') ;; s.replace('l', 'L', 1) ;; 'ab'.replace('', '-')
s.find('o') ;; s.rfind('o') ;; s.find('q') ;; s.index('W') ;; s.count('l') ;; 'ab'.count('') ;; '-'.join(m) ;; '-'.join('abc') ;; '12'.isdigit() ;; 'ab1'.isalnum() ;; 'ab'.isalpha() ;; ' '.isspace() ;; u.upper() ;; u.lower()
l.index(2) ;; l.count(1) ;; l.copy() ;; s|length ;; u|length ;; s|upper ;; s|lower ;; 'it is-a (tEst)'|title ;; 'hELLO'|capitalize ;; w|trim ;; 'xxaxx'|trim('x') ;; s|replace('l', '1') ;; s|first ;; s|last
l|sort ;; l|sort(reverse=true) ;; m|sort ;; m|sort(case_sensitive=true) ;; rows|sort(attribute='k')|map(attribute='k')|list ;; l|sum ;; l|sum(start=10) ;; l|max ;; l|min
m|join('|') ;; l|join ;; rows|join(', ', attribute='k') ;; l|reverse|list ;; s|reverse ;; m|unique|list ;; ['a', 'A']|unique|list ;; ['a', 'A']|unique(case_sensitive=true)|list ;; l|list ;; s|list ;; d|dictsort ;; {'b': 1, 'A': 2}|dictsort(true) ;; {'b': 1, 'a': 2}|dictsort(by='value') ;; d|items|list
l|select('odd')|list ;; l|reject('odd')|list ;; l|select('gt', 1)|list ;; mixed|select|list ;; mixed|select('string')|list ;; rows|selectattr('v')|map(attribute='k')|list ;; rows|selectattr('k', 'equalto', 'A')|list ;; rows|rejectattr('v', 'none')|list|length ;; rows|selectattr('q', 'defined')|list|length ;; no|selectattr('x')|list ;; no|map('upper')|list
m|map('upper')|list ;; rows|map(attribute='k')|join ;; rows|map(attribute='n', default='-')|list ;; ['1', '2']|map('int')|sum ;; missing|default('D') ;; e|default('D') ;; e|default('D', true) ;; no|d('D') ;; '42'|int ;; '4.7'|int ;; 'x'|int ;; 'x'|int(-1) ;; '1.5'|float ;; 'x'|float ;; f|int ;; f|abs ;; true|abs ;; i|string ;; 2.5|round ;; 3.5|round ;; 2.567|round(2) ;; 2.1|round(0, 'ceil') ;; 2.9|round(method='floor')
d|tojson ;; mixed|tojson ;; u|tojson ;; u|tojson(ensure_ascii=true) ;; '<a href="x">&\''|tojson ;; d|tojson(indent=2) ;; rows|tojson(sort_keys=true) ;; d|tojson(separators=(',', ':')) ;; 1e300|tojson ;; {1: 2, none: 3, true: 4}|tojson ;; '\u2028\x7f\x01'|tojson ;; []|tojson(indent=4) ;; [[], {}]|tojson(indent=1)
text|indent ;; text|indent(2, true) ;; text|indent(width=3, blank=true) ;; 'a\nb'|indent('> ') ;; range(3)|list ;; range(1, 4)|list ;; range(5, 0, -2)|list ;; dict(a=1, b=2) ;; dict(d, x=9) ;; namespace(a=1).a
missing is undefined ;; i is number ;; i is integer ;; f is float ;; yes is boolean ;; yes is true ;; no is none ;; s is string ;; d is mapping ;; l is sequence ;; l is iterable ;; i is iterable ;; l is mapping ;; i is odd ;; i is even ;; i is divisibleby 7 ;; i is divisibleby(2) ;; s is lower ;; 'abc' is lower ;; 'ABC' is upper ;; 'a1' is lower ;; '1' is lower ;; i is eq 7 ;; i is ne 7 ;; i is gt(6) ;; i is le 7 ;; i is not none ;; i is in [7] ;; no is sameas none ;; i is sameas true ;; i is not sameas false ;; raise_exception is callable
missing ;; [missing is defined, no] ;; no ;; yes ;; true ;; none ;; f ;; 'a' 'b' ~ 'c' ;; mixed
"""


def expressions():
    for line in EXPRESSIONS.strip().splitlines():
        yield from line.split(" ;; ")


def outcome(source, messages, add_generation_prompt, variables):
    """The text, or None where Jinja2 refuses."""
    try:
        return render(source, messages, add_generation_prompt, variables)
    except Exception:  # a type error in Python is an error of ours too, of whatever wording
        return None


def grid(templates):
    for template, source in templates.items():
        for chat, messages in CHATS.items():
            for variables in VARIABLES:
                for prompt in (False, True):
                    yield template, chat, variables, prompt, outcome(source, messages, prompt, VARIABLES[variables])


def fnv1a(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


def template_sources():
    sources = {path.name: path.read_text() for path in sorted((HERE.parent / "templates").glob("*.jinja"))}
    harbour = HERE.parents[2] / "models/harbour/hf/tokenizer_config.json"
    sources["harbour"] = json.loads(harbour.read_text())["chat_template"]
    return sources


def write(name, document):
    lines = [f" {json.dumps(key)}: " + (
        json.dumps(value, ensure_ascii=False) if not isinstance(value, list) else
        "[\n  " + ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in value) + "]")
        for key, value in document.items()]
    (HERE.parent / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    rendered = []
    texts = {}  # many cases give one text
    for template, chat, variables, prompt, text in grid(template_sources()):
        index = None if text is None else texts.setdefault(text, len(texts))
        rendered.append([template, chat, variables, prompt, index])
    cases = {
        "chats": CHATS, "variables": VARIABLES, "texts": list(texts), "rendered": rendered,
        "expression_variables": EXPRESSION_VARIABLES,
        "expressions": [[e, render("{{ " + e + " }}", [], False, EXPRESSION_VARIABLES)] for e in expressions()],
    }
    write("chat_cases.json", cases)
    if len(sys.argv) > 1:
        published = {path.name: path.read_text() for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja"))}
        hashes = [[t, c, v, p, None if text is None else [len(text.encode()), f"{fnv1a(text):016x}"]]
                  for t, c, v, p, text in grid(published)]
        write("chat_template_hashes.json", {"rendered": hashes})


if __name__ == "__main__":
    main()
