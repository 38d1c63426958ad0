"""The page of the service, in a real browser."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from monge.serving.sampler import Sampler
from tests.running import CLASSES, SHAPE, add_encoder, write_conditional


def drawn(page) -> str:
    """Wait until a picture has come; what the page says of it."""
    told = page.locator("#told:has-text('in the service')")
    told.wait_for()
    return told.inner_text()


def canvas(page) -> np.ndarray:
    """The pixels of the walk's canvas, [H, W, 3]."""
    values = page.evaluate(
        """() => { const c = document.getElementById('step');
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"""
    )
    return np.array(values, np.uint8).reshape(*SHAPE[1:], 4)[..., :3]


def test_it_draws_by_itself_and_says_how_long_it_took(page, service):
    page.goto(service.url)
    assert " ms here, " in drawn(page)
    assert page.evaluate("document.getElementById('grid').naturalWidth") > 100
    assert "generator, version 1, on cpu" in page.locator("#model").inner_text()
    assert Sampler.load(service.model, "cpu").model_hash in page.locator("#contract").inner_text()


def test_an_address_shows_the_same_picture_to_everybody(page, service):
    with page.expect_request("**/v1/samples") as asked:
        page.goto(f"{service.url}/#seed=18446744073709551615&n=4&truncation=0.5")
    wanted = {"n": 4, "seed": 2**64 - 1, "truncation": 0.5, "format": "png", "layout": "grid"}
    assert json.loads(asked.value.post_data) == wanted  # beyond what a JavaScript number holds
    drawn(page)
    answer = service.post("/v1/samples", **wanted)
    width, height = Image.open(io.BytesIO(answer.content)).size
    grid = "document.getElementById('grid')"
    assert page.evaluate(f"[{grid}.naturalWidth, {grid}.naturalHeight]") == [width, height]
    page.click("#after")  # one further is the first seed again
    page.locator("#grid[alt='4 images of seed 0']").wait_for()
    assert "seed=0" in page.url
    page.fill("#seed", "12")
    page.press("#seed", "Tab")
    page.locator("#grid[alt='4 images of seed 12']").wait_for()
    assert "seed=12" in page.url


def test_the_slider_walks_from_one_image_to_the_other(page, service):
    page.goto(f"{service.url}/#from=3&to=8")
    drawn(page)
    sampler = Sampler.load(service.model, "cpu")
    page.locator("#step[width='16']").wait_for()
    expected = sampler.interpolate([3, 8], 33)[0]
    for place in (0, 16, 32):
        page.locator("#place").fill(str(place))
        assert np.array_equal(canvas(page), expected[place])
    page.focus("#place")
    page.keyboard.press("ArrowLeft")
    assert np.array_equal(canvas(page), expected[31])


def test_a_class_is_chosen_from_a_menu_and_is_in_the_address(page, serve, conditional):
    service, sampler = serve(conditional), Sampler.load(conditional, "cpu")
    page.goto(f"{service.url}/#seed=5&n=4&from=3&to=8")
    drawn(page)
    method = sampler.contract.parameters["objective"]
    assert page.locator("dt:text-is('Method') + dd").inner_text() == method
    assert page.locator("#label option").all_inner_texts() == ["as they come", "cat", "dog", "eel"]
    with page.expect_request("**/v1/samples") as asked:
        page.select_option("#label", "eel")
    assert json.loads(asked.value.post_data)["labels"] == "eel"
    page.locator("#grid[alt='4 images of seed 5 of class eel']").wait_for()
    assert "label=eel" in page.url
    page.wait_for_function("document.getElementById('walked').textContent === ''")
    expected = sampler.interpolate([3, 8], 33, "eel")[0]
    page.wait_for_timeout(300)  # the walk has been asked for after the samples
    page.locator("#place").fill("32")
    assert np.array_equal(canvas(page), expected[32])
    page.goto("about:blank")
    with page.expect_request("**/v1/samples") as asked:
        page.goto(f"{service.url}/#seed=5&n=4&label=dog")
    assert json.loads(asked.value.post_data)["labels"] == "dog"
    drawn(page)
    with page.expect_download() as download:
        page.click("#npz")
    images = np.load(io.BytesIO(download.value.path().read_bytes()))["images"]
    assert np.array_equal(images, sampler.sample(4, seed=5, labels="dog"))


def test_without_labels_there_is_no_menu_and_an_unknown_method_is_not_guessed(page, service):
    page.goto(service.url)
    drawn(page)
    assert page.locator("dt:text-is('Method') + dd").inner_text() == "not told"
    assert not page.locator("#label").is_visible()


def test_an_array_can_be_taken_home(page, service):
    page.goto(f"{service.url}/#seed=5&n=4")
    drawn(page)
    with page.expect_download() as download:
        page.click("#npz")
    images = np.load(io.BytesIO(download.value.path().read_bytes()))["images"]
    assert download.value.suggested_filename == "seed-5.npz"
    assert np.array_equal(images, Sampler.load(service.model, "cpu").sample(4, seed=5))


def test_what_is_no_seed_is_said_beside_it(page, service):
    page.goto(service.url)
    drawn(page)
    page.fill("#seed", "-3")
    page.press("#seed", "Enter")
    page.locator("#told.bad:has-text('a seed is a whole number')").wait_for()


def test_a_service_that_went_away_is_said(page, serve, model):
    service = serve(model)
    page.goto(service.url)
    drawn(page)
    page.route("**/v1/samples", lambda route: route.fulfill(
        status=429, headers={"Retry-After": "7"}, json={"detail": "4000 images wait already."}
    ))  # fmt: skip
    page.click("#after")
    page.locator("#told.bad:has-text('images wait already. (again in 7 s)')").wait_for()


def test_a_token_is_asked_for_and_opens_the_page(page, serve, model):
    service = serve(model, MONGE_TOKEN="a token that is long")
    page.goto(service.url)
    page.fill("#token", "not the token")
    page.click("#entry button")
    page.locator("#told.bad:has-text('a token is needed')").wait_for()
    page.fill("#token", "a token that is long")
    page.click("#entry button")
    drawn(page)
    assert not page.locator("#entry").is_visible()


def test_it_fits_a_telephone_and_names_its_controls(browser, service):
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="dark")
    page = context.new_page()
    page.goto(service.url)
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button')]
        .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim()))
        .map((e) => e.id)"""
    )
    assert nameless == []
    seen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
    assert len(np.unique(seen)) > 20
    assert np.median(seen) < 60  # it is dark where dark is asked for
    context.close()


def test_programs_find_the_interface_described(page, service):
    page.goto(f"{service.url}/page/api.html")
    page.locator("h2:has-text('POST /v1/samples')").wait_for()
    assert "from 0.01 to 6" in page.locator("main").inner_text()


def pixels_of(page, canvas_id: str) -> np.ndarray:
    values = page.evaluate(
        """(id) => { const c = document.getElementById(id);
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }""",
        canvas_id,
    )
    return np.array(values, np.uint8).reshape(*SHAPE[1:], 4)[..., :3]


def drop(page, slot: int, name: str, content: bytes) -> None:
    """Drop a file on a slot, as a person does."""
    page.evaluate(
        """([slot, name, values]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(values)], name));
        document.querySelector(`[data-slot="${slot}"]`).dispatchEvent(
          new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true })); }""",
        [slot, name, [*content]],
    )


def test_a_dropped_picture_is_drawn_again_and_walked_from(page, serve, way_back, tmp_path):
    service, sampler = serve(way_back), Sampler.load(way_back, "cpu")
    pixels = np.random.default_rng(2).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    files = [tmp_path / "mine.png", tmp_path / "other.png"]
    for one, file in zip(pixels, files, strict=True):
        Image.fromarray(one).save(file)
    found = sampler.encode(pixels)
    again = sampler.run(found)
    page.goto(service.url)
    drawn(page)
    drop(page, 0, "mine.png", files[0].read_bytes())
    page.locator("#between-pictures[width='16']").wait_for()
    assert np.array_equal(pixels_of(page, "back"), again[0])
    assert page.locator("#given").get_attribute("alt") == "mine.png"
    walk = sampler.walk(found[:1], sampler.latents(1, 0), 33)[0]
    for place in (0, 16, 32):
        page.locator("#along").fill(str(place))
        assert np.array_equal(pixels_of(page, "between-pictures"), walk[place])
    with page.expect_response("**/v1/interpolations"):
        page.locator("#other").set_input_files(files[1])
    page.locator("#back-other[width='16']").wait_for()
    page.wait_for_function("document.getElementById('encoded').textContent === ''")
    assert np.array_equal(pixels_of(page, "back-other"), again[1])
    walk = sampler.walk(found[:1], found[1:], 33)[0]
    assert np.array_equal(pixels_of(page, "between-pictures"), walk[32])
    page.fill("#goal", "9")
    with page.expect_response("**/v1/interpolations"):
        page.press("#goal", "Tab")
    assert not page.locator("#given-other").is_visible()
    page.wait_for_timeout(300)
    assert np.array_equal(pixels_of(page, "between-pictures"), sampler.sample(1, seed=9)[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    drop(page, 0, "torn.png", b"no picture")
    page.locator("#encoded.bad:has-text('not an image of a format that is read')").wait_for()


def test_a_picture_of_a_conditional_generator_is_drawn_as_the_chosen_class(page, serve, tmp_path):
    model = write_conditional(tmp_path / "generator.onnx")
    add_encoder(model)
    service, sampler = serve(model), Sampler.load(model, "cpu")
    pixels = np.random.default_rng(4).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "mine.png")
    page.goto(service.url)
    drawn(page)
    page.locator("#picture").set_input_files(tmp_path / "mine.png")
    page.locator("#encoded.bad:has-text('choose a class above')").wait_for()
    page.select_option("#label", "eel")
    page.locator("#back[width='16']").wait_for()
    again = sampler.run(sampler.encode(pixels), np.array([CLASSES.index("eel")]))
    assert np.array_equal(pixels_of(page, "back"), again[0])


def test_without_an_encoder_no_picture_is_asked_for(page, service):
    page.goto(service.url)
    drawn(page)
    assert not page.locator("#own").is_visible()
