"""Panels, predictions, figures and exercises: what every chapter builds on."""

import csv
import io
import itertools
import json

import plotly.graph_objects as go
import pytest

from fsplit_lib.data import PHOTOS
from fsplit_lib.errors import ParameterError
from fsplit_lib.exercises import EXERCISES, Exercise, check
from fsplit_lib.panels import Choice, LogNumber, Number, Panel, base, predict, predictions_csv
from fsplit_lib.panels.photo_picker import MY_OWN, PhotoPicker
from fsplit_lib.plots import METHODS, caption, finish, look_of, show


@pytest.fixture
def calls():
    return []


@pytest.fixture
def panel(calls):
    controls = {
        "beta": Number("beta", 0.0, 2.0, 0.5, 0.1),
        "n": Number("n", 1, 9, 3, 1),
        "kind": Choice("kind", ("a", "b"), "a"),
    }
    figure = go.Figure(go.Scatter(x=[0], y=[0]))

    def update(beta, n, kind):
        calls.append((beta, n, kind))
        if n == 9:
            raise RuntimeError("boom")
        panel.figure.data[0].y = [beta * n]
        panel.figure.layout.title.text = kind
        return f"{beta:g} times {n} is {beta * n:g}."

    panel = Panel(controls, figure, update)
    panel.refresh()
    return panel


@pytest.mark.parametrize("values", itertools.product((0.0, 0.5, 2.0), (1, 3, 8), ("a", "b")))
def test_every_state_draws_and_speaks(panel, values):
    state = dict(zip(("beta", "n", "kind"), values, strict=True))
    panel.set(**state)
    assert panel.state() == state
    assert panel.figure.data[0].y[0] == pytest.approx(values[0] * values[1])
    assert f"{values[0] * values[1]:g}." in panel.summary.value
    assert caption(panel.static()) in panel.summary.value
    assert isinstance(panel.static(), go.Figure) and not isinstance(panel.static(), go.FigureWidget)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"gamma": 1}, "it has beta, n, kind"), ({"beta": 2.1}, "from 0 to 2"), ({"beta": "x"}, "number"), ({"n": 1.5}, "number"),
     ({"n": True}, "number"), ({"kind": "c"}, "one of a, b"), ({"n": 2, "beta": -1}, "from 0 to 2")],
)  # fmt: skip
def test_illegal_values_move_nothing(panel, calls, wrong, message):
    before = panel.state()
    calls.clear()
    with pytest.raises(ParameterError, match=message):
        panel.set(**wrong)
    assert panel.state() == before
    assert calls == []


def test_one_drawing_for_one_set(panel, calls):
    messages = []
    kinds = [f"_py2js_{kind}" for kind in ("update", "restyle", "relayout")]
    panel.figure.observe(lambda change: messages.append(change["name"]) if change["new"] else None, names=kinds)
    calls.clear()
    panel.set(beta=1.0, n=4, kind="b")
    assert calls == [(1.0, 4, "b")] and messages == ["_py2js_update"]  # the browser draws once, too
    panel.controls["n"].carrier.value = 5
    assert calls[-1] == (1.0, 5, "b") and len(calls) == 2


def test_a_page_gets_a_figure_to_which_nothing_was_sent(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    panel.set(beta=1.0, n=4)
    before = panel.figure
    panel._ipython_display_()
    assert shown == [panel.box] and panel.figure in panel.box.children and before not in panel.box.children
    assert panel.figure._last_trace_edit_id == 0 and list(panel.figure.data[0].y) == [4.0]
    panel.set(n=5)
    assert list(panel.figure.data[0].y) == [5.0] and list(panel.static().data[0].x) == [0]


def replayed(recorded, index):
    """The figure that a page shows in a state: what its script does."""
    figure = {"layout": dict(recorded["layout"]), "data": [dict(trace) for trace in recorded["data"]]}
    for part, key, value in recorded["panel"]["states"][index]["changes"]:
        target = figure["layout"] if part < 0 else figure["data"][part]
        if value is None:
            del target[key]
        else:
            target[key] = recorded["panel"]["values"][value]
    return figure


@pytest.fixture
def wide():
    """A panel with more states than a page takes; a trace comes and goes with the kind."""
    controls = {"n": Number("n", 1, 99, 3, 1), "x": LogNumber("x", 0.1, 10, 1), "kind": Choice("kind", ("a", "b"), "a")}
    figure = go.Figure([go.Scatter(x=[0], y=[0]), go.Scatter(x=[1], y=[1])])

    def update(n, x, kind):
        panel.figure.data[0].y = [n * x]
        panel.figure.data[1].text = ["long " * 99] if kind == "b" else None
        panel.figure.layout.title.text = kind
        return f"{n} times {x:.3g} for {kind}"

    panel = Panel(controls, figure, update)
    panel.refresh()
    return panel


def test_a_record_replays_every_state(wide, monkeypatch):
    monkeypatch.setattr(base, "STATES", 50)
    recorded = json.loads(json.dumps(wide.recorded()))  # as it lies in the notebook
    controls = recorded["panel"]["controls"]
    assert [one["label"] for one in controls] == ["n", "x", "kind"]
    assert [one["places"][one["first"]] for one in controls] == ["3", "1", "a"]
    grid = list(itertools.product(*(wide.controls[name].places(5) for name in ("n", "x", "kind"))))
    assert len(grid) == len(recorded["panel"]["states"]) <= base.STATES
    assert wide.state() == {"n": 3, "x": 1.0, "kind": "a"} and list(wide.figure.data[0].y) == [3]  # nothing has moved
    for index in (0, 17, 30, len(grid) - 1):
        wide.set(**dict(zip(("n", "x", "kind"), grid[index], strict=True)))
        now, then = replayed(recorded, index), json.loads(wide.static().to_json())
        assert now["data"] == then["data"]
        assert now["layout"]["title"] == then["layout"]["title"]
        assert recorded["panel"]["states"][index]["said"] == then["layout"]["meta"]["alt"]


def test_a_record_keeps_to_its_limits(wide, monkeypatch):
    def taken():
        told = wide.recorded()["panel"]
        places = {one["label"]: len(one["places"]) for one in told["controls"]}
        assert ("kind" in told["note"]) == ("kind" not in places)  # what only JupyterLab has is said
        return places

    monkeypatch.setattr(base, "STATES", 50)
    assert taken() == {"n": 5, "x": 5, "kind": 2}
    monkeypatch.setattr(base, "STATES", 36)
    assert taken() == {"n": 6, "x": 6}
    monkeypatch.setattr(base, "STATES", 24)
    assert taken() == {"n": 13}
    monkeypatch.setattr(base, "SIZE", 10)
    assert taken() == {}
    assert wide.state() == {"n": 3, "x": 1.0, "kind": "a"} and wide._said == "3 times 1 for a"


@pytest.mark.parametrize(
    "control", [Number("n", 1, 99, 37, 1), Number("n", 0.0, 1.0, 0.35, 0.05), LogNumber("x", 0.01, 10, 0.6)]
)
@pytest.mark.parametrize("most", [2, 5, 13, 500])
def test_places_are_legal_and_hold_the_first(control, most):
    places = control.places(most)
    assert len(places) <= most and places == sorted(set(places)) and control.value in places
    for place in places:
        control.check(place)


def test_a_page_offers_the_books_photos_and_no_file_of_the_readers():
    assert PhotoPicker("chelsea").controls["photo"].places(2) == list(PHOTOS)
    own = PhotoPicker("mine.png").controls
    assert MY_OWN in own["photo"].places(2) and own["file"].places(2) == ["mine.png"]


def test_the_site_gets_a_record_and_jupyterlab_the_panel_alone(wide, monkeypatch, home):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda thing, raw=False: shown.append(thing))
    wide._ipython_display_()
    ask()._ipython_display_()
    assert shown[0] is wide.box and hasattr(shown[1], "children")
    monkeypatch.setenv("FSPLIT_SITE", "1")
    wide._ipython_display_()
    ask()._ipython_display_()
    assert shown[2]["application/vnd.plotly.v1+json"]["panel"]["states"] and "How many?" in shown[3].data
    assert ask().reveal(42).layout.meta["alt"] == "Measured: 42 bytes."
    Panel({}, go.Figure(), lambda: "")._ipython_display_()
    assert "JupyterLab" in shown[4].data  # one that has shown nothing yet


def test_errors_in_a_callback_are_seen(panel):
    with pytest.raises(RuntimeError, match="boom"):
        panel.set(n=9)
    with pytest.raises(RuntimeError, match="boom"):
        panel.controls["n"].carrier.value = 2
        panel.controls["n"].carrier.value = 9


def test_slider_and_named_field_are_one():
    number = Number("rate", 0.0, 1.0, 0.5, 0.1)
    field, slider = number.widget.children
    assert field.description == "rate"
    slider.value = 0.7
    assert number.value == pytest.approx(0.7)
    field.value = 0.2
    assert slider.value == pytest.approx(0.2)


def ask(unit="bytes"):
    return predict("77.q", "How many?", 0, 100, 5, unit)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FSPLIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_guess_is_kept_before_it_is_drawn_beside_the_truth(home):
    guess = ask()
    assert guess.state() == {"guess": 50, "agreement": None}
    guess.set(30)
    assert guess.state()["agreement"] is None  # moving is not keeping
    guess.box.children[2].click()
    assert ask().state()["agreement"] == 30  # on disk before anything is revealed
    guess.set(60)
    figure = guess.reveal(42)
    assert list(figure.data[0].x) == [42, 30] and "30 bytes" in caption(figure)
    assert "Your guess: 30 bytes" in guess.box.children[3].value
    with pytest.raises(ParameterError, match="0 to 100"):
        guess.set(101)


def test_without_a_guess_the_truth_stands_alone_and_asks_for_one(home):
    figure = ask().reveal(42)
    assert list(figure.data[0].x) == [42]
    assert caption(figure) == "Measured: 42 bytes. No guess was kept: keep one above, then run this cell again."
    assert ask().state()["agreement"] is None and ask().control.value == 50  # nothing was invented
    assert list(csv.reader(io.StringIO(predictions_csv())))[1:] == []


def test_the_ledger_says_what_was_guessed_before_the_truth_and_names_nobody(home):
    ask().set(30).keep()
    ask().reveal(42.5)
    predict("77.late", 'Of "them", how many?', 0, 9, 1, "photos").reveal(3)
    predict("77.late", 'Of "them", how many?', 0, 9, 1, "photos").set(3).keep()
    predict("77.open", "Open?", 0.0, 1.0, 0.1, "bits").set(0.2).keep()
    assert list(csv.DictReader(io.StringIO(predictions_csv()))) == [
        dict(zip(("id", "question", "guess", "truth", "unit", "agreement"), row, strict=True))
        for row in (
            ("77.late", 'Of "them", how many?', "3", "3.0", "photos", "after the truth"),
            ("77.open", "Open?", "0.2", "", "bits", "before the truth"),
            ("77.q", "How many?", "30", "42.5", "bytes", "before the truth"),
        )
    ]


@pytest.mark.parametrize("content", ["{", '{"77.q": 30}', "[1]", ""])
def test_a_damaged_ledger_asks_again(home, content):
    ask().keep()
    (home / "predictions.json").write_text(content)
    assert ask().state()["agreement"] is None
    ask().set(30).keep()
    assert ask().state()["agreement"] == 30


def test_methods_differ_in_more_than_colour():
    for (a, x), (b, y) in itertools.combinations(METHODS.items(), 2):
        if {a, b} & {"rate", "distortion"}:
            continue  # quantities, not methods: never in one figure with them
        assert x.color != y.color, (a, b)
        assert (x.dash, x.symbol) != (y.dash, y.symbol), (a, b)
    with pytest.raises(KeyError, match="METHODS"):
        look_of("magic")


def test_a_figure_is_shown_with_its_caption_folded(monkeypatch):
    figure, shown = finish(go.Figure(), "Title", "Three <of> 4."), []
    assert figure.layout.template.layout.font.size == 16
    monkeypatch.setattr("IPython.display.display", shown.append)
    show(figure)
    assert caption(figure) == "Three <of> 4."
    assert shown[0] is figure and shown[1].data.endswith("</summary>Three &lt;of&gt; 4.</details>")


def test_graders():
    number = Exercise.number("x.1", 2.0, "think", "good", (4.0, "squared"))
    assert number.grade(2) is True and number.grade("2.001") is True
    assert number.grade(4.0) == "squared" and number.grade(7) is False
    assert "number" in number.grade(object())
    choice = Exercise.choice("x.2", "b", "think", "good", a="no", c="nor this")
    assert choice.grade(" B ") is True and choice.grade("a") == "no"
    assert "one letter: a, b, c" in choice.grade("z")


def test_every_exercise_waits_for_an_answer_and_knows_three_mistakes():
    for id, exercise in EXERCISES.items():
        assert check(id, ...).status == "unanswered"
        assert len(exercise.traps) >= 3
    with pytest.raises(KeyError, match="no exercise"):
        check("99.9", 1)
