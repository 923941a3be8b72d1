"""The web page of a running server, in a headless Chromium.
page_test.py LLM_TP MODEL FOLDER: screenshots go to FOLDER. Ends with 77 where there is no Chromium."""
import json
import os
import shutil
import subprocess
import sys
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from devtools import Browser  # noqa: E402

PROMPT = "The gull"
KEY = "correct-horse"
ANSWER = "[...document.querySelectorAll('.message .tokens')].pop()"
IDLE = "document.getElementById('send').textContent === 'Send'"
ONE_ANSWER = f"document.querySelectorAll('.message .tokens').length > 0 && {IDLE}"


def tidy(expression):
    return f"(() => {{ {expression} }})()"


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [PROGRAM, "serve", "--model", MODEL, "--port", "0", "--threads", "1", "--max-batch", "2"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "LLM_TP_API_KEY": KEY})
        cls.address = cls.server.stdout.readline().strip() + "/"
        cls.browser = Browser(CHROMIUM)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.terminate()
        cls.server.stdout.close()
        assert cls.server.wait(60) == 0, "the server did not end well"

    def open(self, width=1180, height=840, scheme="light", key=True):
        self.browser.problems.clear()
        self.browser.open(self.address, width, height, scheme)
        if key:
            if width < 500:
                self.browser.evaluate("document.getElementById('panel-toggle').click()")
            self.fill("key", KEY)
            self.browser.wait_until("document.querySelectorAll('#ranks li').length === 1")
        # Without the key the page's first look at the group was refused, as it should be.
        self.browser.problems[:] = [p for p in self.browser.problems if "401" not in p]

    def tearDown(self):
        self.assertEqual(self.browser.problems, [])

    def fill(self, field, value):
        self.browser.evaluate(tidy(f"const f = document.getElementById('{field}'); f.focus(); f.select && f.select();"))
        self.browser.type(value)

    def ask(self, prompt):
        self.browser.evaluate("document.getElementById('prompt').focus()")
        self.browser.type(prompt)
        self.browser.enter()
        self.browser.wait_until(f"document.querySelectorAll('.message .tokens').length > 0 && ({ANSWER}).textContent !== ''")
        self.browser.wait_until(ONE_ANSWER)

    def picture(self, name):
        self.browser.evaluate("document.getElementById('panel').scrollTop = 0")
        self.browser.screenshot(os.path.join(FOLDER, name + ".png"))

    def choose(self, mode):
        self.browser.evaluate(f"document.querySelector('input[value={mode}]').click()")

    def api(self, path, body):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
        return json.load(urllib.request.urlopen(request))["choices"][0]

    def no_sideways_scroll(self):
        self.assertEqual(self.browser.evaluate("""[document.documentElement, ...document.querySelectorAll("#log, #panel")]
            .filter((e) => e.scrollWidth > e.clientWidth || e.clientWidth > innerWidth).map((e) => e.id || e.tagName)"""), [])

    def test_a_streamed_chat_says_what_the_api_says(self):
        self.open()
        self.fill("temperature", "0")
        self.fill("max_tokens", "40")
        self.ask(PROMPT)
        expected = self.api("v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 40})
        self.assertEqual(self.browser.evaluate(f"({ANSWER}).textContent"), expected["message"]["content"])
        # A second turn has the first in its messages.
        self.ask("And then?")
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": expected["message"]["content"]},
                 {"role": "user", "content": "And then?"}]
        second = self.api("v1/chat/completions", {"messages": turns, "temperature": 0, "max_tokens": 40})
        self.assertEqual(self.browser.evaluate(f"({ANSWER}).textContent"), second["message"]["content"])
        # Asked again, the same question: the answer takes the place of the last.
        self.browser.evaluate("document.querySelector('.foot button').click()")
        self.browser.wait_until(f"{IDLE} && document.querySelectorAll('.message .tokens').length === 2")
        self.assertEqual(self.browser.evaluate(f"({ANSWER}).textContent"), second["message"]["content"])

    def test_tokens_show_their_probability_on_hover_and_by_keyboard(self):
        self.open()
        self.choose("completion")
        self.fill("temperature", "0")
        self.fill("max_tokens", "60")
        self.ask("On Monday Maya was playing outside the bakery.")
        said = self.api("v1/completions", {"prompt": "On Monday Maya was playing outside the bakery.", "temperature": 0,
                                           "max_tokens": 60, "logprobs": 5})
        self.assertEqual(self.browser.evaluate(f"({ANSWER}).textContent"), said["text"])
        self.browser.evaluate("document.getElementById('colour').click()")
        self.assertTrue(self.browser.evaluate("document.getElementById('tip').hidden"))
        self.browser.move_to(*self.browser.centre(f"({ANSWER}).querySelectorAll('.known')[6]"))
        self.browser.wait_until("!document.getElementById('tip').hidden")
        shown = self.browser.evaluate("document.getElementById('tip').innerText")
        self.assertIn("log-probability %.4f" % said["logprobs"]["token_logprobs"][6], shown)
        self.assertGreaterEqual(self.browser.evaluate("document.querySelectorAll('#tip .row').length"), 5)
        self.picture("page-light")
        self.browser.move_to(5, 5)
        self.browser.wait_until("document.getElementById('tip').hidden")
        self.browser.evaluate(f"({ANSWER}).focus()")
        self.browser.key("ArrowRight", number=39)
        self.browser.key("ArrowRight", number=39)
        self.assertIn("log-probability %.4f" % said["logprobs"]["token_logprobs"][1],
                      self.browser.evaluate("document.getElementById('tip').innerText"))

    def test_stop_and_escape_end_an_answer_and_its_request(self):
        for stop in ("button", "escape"):
            # The page itself stops at the first token. Where a whole answer comes at once there is nothing to stop.
            for _ in range(20):
                self.stop_at_the_first_token(stop)
                foot = self.browser.evaluate("document.querySelector('.message .foot').textContent")
                if "stopped" in foot:
                    break
            self.assertIn("stopped", foot)
            self.browser.wait_until("document.getElementById('running').textContent === '0'")

    def stop_at_the_first_token(self, stop):
        self.open()
        self.choose("completion")
        self.fill("max_tokens", "480")
        self.browser.evaluate(tidy("""
            const end = () => "%s" === "button" ? document.getElementById("send").click()
              : document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
            new MutationObserver((_, self) => { if (document.querySelector(".tokens .known")) { self.disconnect(); end(); } })
              .observe(document.getElementById("log"), { childList: true, subtree: true });""" % stop))
        self.ask("Once upon a time there was a")

    def test_what_a_model_says_is_never_markup(self):
        self.open()
        self.choose("completion")
        self.fill("max_tokens", "4")
        self.ask("<img src=x onerror=alert(1)><b>bold</b>")
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('.message img, .message b').length"), 0)
        self.browser.evaluate(tidy("""const t = new TokenText(document.querySelector(".tokens"));
            t.push("<i>a</i>", [{ text: "<i>a</i>", logprob: -1, top: [{ text: "<u>b</u>", logprob: -2 }] }]);
            t.push("<s>c</s>", []);
            showTip([...document.querySelectorAll(".known")].pop());"""))
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('.message i, .message s, #tip i, #tip u').length"), 0)
        self.assertIn("<i>a</i><s>c</s>", self.browser.evaluate("document.querySelector('.tokens').textContent"))
        self.assertIn("<b>bold</b>", self.browser.evaluate("document.querySelector('.given').textContent"))

    def test_policy_lets_nothing_else_run(self):
        policy = urllib.request.urlopen(self.address).headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.open(key=False)
        self.browser.evaluate(tidy("const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"))
        self.assertIsNone(self.browser.evaluate("window.broken"))
        self.assertTrue(any("Content Security Policy" in p for p in self.browser.problems), self.browser.problems)
        self.browser.problems.clear()

    def test_without_the_key_it_asks_for_it(self):
        self.open(key=False)
        self.browser.wait_until("!document.getElementById('group-error').hidden")
        self.assertIn("API key", self.browser.evaluate("document.getElementById('group-error').textContent"))
        self.browser.evaluate("document.getElementById('prompt').focus()")
        self.browser.type("Hello")
        self.browser.enter()
        self.browser.wait_until("document.activeElement.id === 'key'")
        self.assertIn("API key", self.browser.evaluate("document.querySelector('[role=alert]').textContent"))
        self.browser.problems[:] = [p for p in self.browser.problems if "401" not in p]

    def test_a_narrow_screen_and_dark_colours(self):
        light = None
        for scheme in ("light", "dark"):
            self.open(360, 740, scheme)
            self.no_sideways_scroll()
            colour = self.browser.evaluate("getComputedStyle(document.body).backgroundColor")
            self.assertNotEqual(colour, light)
            light = colour
            self.fill("temperature", "0")
            self.fill("max_tokens", "50")
            self.browser.evaluate("document.getElementById('panel-toggle').click()")
            self.ask("A word without an end: " + "x" * 90)
            self.no_sideways_scroll()
            self.picture("page-narrow-" + scheme)
            self.browser.evaluate("document.getElementById('panel-toggle').click()")
            self.no_sideways_scroll()
            self.picture(f"page-narrow-{scheme}-settings")
        # The switch wins over the system: as the system, light.
        self.browser.evaluate("document.getElementById('theme').click()")
        self.assertNotEqual(self.browser.evaluate("getComputedStyle(document.body).backgroundColor"), light)

    def test_wide_and_dark(self):
        self.open(scheme="dark")
        self.fill("temperature", "0")
        self.fill("max_tokens", "60")
        self.ask("Where is the boat?")
        self.ask("Tell me about the sea.")
        self.browser.wait_until("document.getElementById('rate').textContent !== '0'")
        self.no_sideways_scroll()
        self.picture("page-dark")

    def test_focus_goes_through_everything_in_order(self):
        self.open()
        self.browser.evaluate("document.activeElement.blur()")
        seen = []
        for _ in range(20):
            self.browser.key("Tab", number=9)
            seen.append(self.browser.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.name"))
        order = [name for name in ("skip", "new", "theme", "prompt", "send", "model", "system", "temperature", "seed", "logprobs", "key") if name in seen]
        self.assertEqual(len(order), 11, seen)
        self.assertEqual(sorted(order, key=seen.index), order)


if __name__ == "__main__":
    PROGRAM, MODEL, FOLDER = sys.argv[1:4]
    CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
    if CHROMIUM is None:
        print("SKIPPED: chromium was not found; the Debian package chromium has it, and without it nobody looks at the page")
        sys.exit(77)
    os.makedirs(FOLDER, exist_ok=True)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
