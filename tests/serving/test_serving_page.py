"""The explorer on a small shop (see `shop_export`): its data over HTTP, and the page in a real browser."""

import dataclasses
import re

import httpx
import numpy as np
import pytest
from browser import chromium, kept

from tests.serving import shop_export
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import Event, open_stores
from tfrs_twotower.serving import Access, Server
from tfrs_twotower.serving.page.map import principal
from tfrs_twotower.serving.recommend.request import RecommendRequest
from tfrs_twotower.serving.schemas import SCHEMAS

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def server(shop_root, tmp_path_factory):
    """u1 had c; the item `n` is new, and its category is hostile HTML."""
    folder = tmp_path_factory.mktemp("page")
    fresh, stores = FreshItems(folder / "items"), open_stores(f"sqlite:{folder}/store.db")
    stores.history.append([Event("1", "u1", "c", 86_400, "buy")])
    stores.profiles.put({"u1": {"mood": [0.0, 0.0], "name": HOSTILE}})
    with Server(shop_root, rest_port=0, grpc_port=0, stores=stores, fresh=fresh) as server:
        changed = [{"item_id": HOSTILE, "price": 9, "tags": [], "category": HOSTILE}]
        httpx.post(f"http://127.0.0.1:{server.rest_port}/v1/items", json={"changed": changed}).raise_for_status()
        yield server
    fresh.close()
    stores.close()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        yield client


def test_its_data(client):
    model = client.get("/page/model").json()
    assert (model["version"], model["items"], model["title"], model["store"]) == (1, 6, None, True)
    assert model["objectives"] == []
    assert model["channels"] == ["u2i", "i2i", "popular", "fresh"]
    assert [(one["name"], one["kind"]) for one in model["attributes"]] == [
        ("price", "number"), ("tags", "text"), ("category", "text")]
    assert model["attributes"][1]["values"] == ["x", "y"]
    ids = [one["item_id"] for one in client.get("/page/items", params={"q": ""}).json()["items"]]
    assert ids == list("abcdef")  # by popularity
    assert [one["item_id"] for one in client.get("/page/items?q=D").json()["items"]] == [HOSTILE, "d"]
    user = client.get("/page/user?id=u1").json()
    assert user["past"] == [{"item_id": "c", "title": "c", "image": None, "timestamp": 86_400, "event": "buy"}]
    assert client.get("/page/user?id=nobody").json() == {"past": [], "profile": {}}
    like = client.get("/page/similar?item=d").json()
    assert like["item"]["item_id"] == "d" and [one["item_id"] for one in like["items"]][:2] == ["e", "f"]
    drawn = client.get("/page/map").json()
    assert [one[0] for one in drawn["items"]] == list("abcdef") and drawn["column"] == "category"
    assert drawn["shown"] == 1  # of two dimensions
    client.post("/v1/recommend", json={"user_id": "u1"}).raise_for_status()
    state = client.get("/page/state").json()
    assert state["versions"] == [{"version": 1, "state": "available", "error": ""}] and state["degraded"] == []
    count, seconds = state["stages"]["filter"]
    assert count >= 1 and seconds > 0


@pytest.mark.parametrize("path, status, message", [
    ("/page/items?q=" + "x" * 201, 400, "`q` must have at most 200 characters"),
    ("/page/user", 400, "`id` must have 1 to"),
    ("/page/similar?item=zz", 404, "There is no item 'zz'"),
])
def test_what_it_refuses(client, path, status, message):
    response = client.get(path)
    assert response.status_code == status and message in response.json()["error"]


def test_a_name_of_the_web_that_leads_to_this_machine_gets_no_data(client):
    port = client.base_url.port
    assert client.get("/page/user?id=u1", headers={"Host": f"rebound.example:{port}"}).status_code == 403
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert client.get("/page/user?id=u1", headers={"Host": f"{host}:{port}"}).status_code == 200


def test_a_version_that_is_asked_for_answers(client):
    assert client.post("/v1/recommend", json={"user_id": "u1", "version": 1}).json()["model_version"] == 1
    assert client.post("/v1/recommend", json={"user_id": "u1", "version": 2}).status_code == 404


def test_the_described_interface_has_every_field_of_a_request():
    assert list(SCHEMAS["Recommend"]["properties"]) == [field.name for field in dataclasses.fields(RecommendRequest)]


def test_its_policy_lets_nothing_in_but_its_own_files(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;" in policy
    assert not re.search(r"<script(?! src=)|<style|\son[a-z]+=|\sstyle=", response.text)


def test_principal_components_of_a_line():
    places, shown = principal(np.array([[0.0, 0, 0], [3, 4, 0], [6, 8, 0]]))
    assert np.abs(places[:, 0]).tolist() == pytest.approx([1, 0, 1]) and shown == pytest.approx(1)


def test_it_is_shown_where_it_is_asked_for_and_asks_for_the_key(shop_root, tmp_path):
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    access = Access(api_key_file=str(tmp_path / "keys"))
    with Server(shop_root, rest_port=0, grpc_port=0, page=False) as server:
        assert httpx.get(f"http://127.0.0.1:{server.rest_port}/").status_code == 404
    with Server(shop_root, host="0.0.0.0", rest_port=0, grpc_port=0, access=access) as server:
        key = {"Authorization": "Bearer 0123456789abcdef"}
        assert httpx.get(f"http://127.0.0.1:{server.rest_port}/", headers=key).status_code == 404
    with Server(shop_root, host="0.0.0.0", rest_port=0, grpc_port=0, access=access, page=True,
                page_images="https://cdn.example") as server:
        base = f"http://127.0.0.1:{server.rest_port}"
        page = httpx.get(f"{base}/")
        assert page.status_code == 200 and 'data-key="yes"' in page.text
        assert "img-src data: https://cdn.example;" in page.headers["content-security-policy"]
        assert httpx.get(f"{base}/page/model").status_code == 401
        assert httpx.get(f"{base}/page/model", headers=key).status_code == 200
    with pytest.raises(ConfigError, match="`page_images` must be an origin"):
        Server(shop_root, page_images="https://cdn.example; script-src *")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    """The page, opened. At the end nothing was wrong in the console, and nothing was asked of another machine."""
    page, base = browser.new_page(viewport={"width": 1200, "height": 900}), f"http://127.0.0.1:{server.rest_port}"
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(base)
    page.wait_for_selector("#answer-a li")
    page.wait_for_selector("#map circle")
    yield page
    assert wrong == [] and all(url.startswith((base, "data:")) for url in asked)
    page.close()


def names(page, selector="#answer-a .name"):
    return page.locator(selector).all_inner_texts()


def settled(page, selector, expected):
    """Waits until the texts of a selector are these."""
    found = pytest.importorskip("playwright.sync_api").expect(page.locator(selector))
    found.to_have_text(expected, timeout=30_000)  # of itself it waits for 5 s, which a busy machine may take


def test_a_user_is_found_answered_and_chooses(page, tmp_path):
    assert names(page) == list("abcdef")  # a stranger gets what is popular
    page.get_by_label("A user of the store, by id").fill("u1")
    page.get_by_label("A user of the store, by id").press("Enter")
    settled(page, "#answer-a .name", [HOSTILE, *"cbafde"])  # (9, 0), then 3, 2, 1, 1, 0, 0
    assert names(page, "#past button") == ["c"] and page.title() == "shop: explorer"
    assert HOSTILE in page.locator("#status").inner_text()  # as text
    page.get_by_role("button", name="Choose b").click()
    settled(page, "#past button", ["b", "c"])
    settled(page, "#status", "User u1 chose b: the answer has moved.")
    page.locator("#answer-a summary").first.click()
    assert page.locator("#answer-a .shares tr").first.is_visible()
    page.get_by_role("button", name="Items like d").click()
    page.wait_for_selector("#similar-section:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "similar-title"
    assert names(page, "#similar button")[:2] == ["e", "f"]
    kept(page, "explorer-1200", tmp_path)


def test_what_is_refused_leaves_no_answer_of_an_earlier_question(browser, server):
    page = browser.new_page()  # the fixture's must have nothing refused
    page.goto(f"http://127.0.0.1:{server.rest_port}")
    settled(page, "#answer-a .name", list("abcdef"))
    refused, negative = re.compile("^`k` must be"), re.compile("^`channels.i2i` must be")
    for name, value, answer, status in (
        ("k", 5000, "", refused), ("k", 3, "abc", ""), ("k", 0, "", refused), ("k", 3, "abc", ""),
        ("i2i", -1, "", negative), ("i2i", 0, "abc", ""),
    ):
        page.locator(f"#panel-a [name={name}]").fill(str(value))
        page.locator(f"#panel-a [name={name}]").press("Enter")
        settled(page, "#status", status)
        settled(page, "#answer-a .name", list(answer))
    page.close()


def test_a_stranger_is_invented_and_two_settings_stand_side_by_side(page, tmp_path):
    page.get_by_label("Or invent one: pick a few titles").fill("e")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="+ e", exact=True).click()
    page.wait_for_selector("#past button[aria-label='Remove e']")
    page.get_by_role("button", name="Compare two settings").click()
    page.wait_for_selector("#answer-b li")
    form = page.locator("form[data-panel=b]")
    form.locator("[name=allow-name]").select_option("category")
    form.locator("[name=allow-value]").fill("bread, milk")
    form.locator("[name=allow-value]").press("Tab")
    settled(page, "#differ", "3 of 7 items are in both answers.")
    assert set(names(page, "#answer-b .name")) == {"c", "d", "e"} and len(names(page)) == 7
    form.locator("[name=popular]").fill("1")
    form.locator("[name=popular]").press("Tab")
    page.get_by_role("list", name="Answer B").get_by_text(re.compile("^popular -")).wait_for()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    kept(page, "explorer-390", tmp_path)


def test_objectives_of_the_version_have_knobs(browser, tmp_path):
    shop_export.write(tmp_path / "root", 1, np.array([[0, 2], [-1, 0]], np.float32), ("buy", HOSTILE))
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    stores.profiles.put({"u1": {"mood": [0.0, 0.0]}})
    with Server(tmp_path / "root", rest_port=0, grpc_port=0, stores=stores) as server:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.rest_port}")
        page.get_by_label("A user of the store, by id").fill("u1")
        page.get_by_label("A user of the store, by id").press("Enter")
        settled(page, "#answer-a .name", list("cbafde"))
        form = page.locator("form[data-panel=a]")
        form.get_by_label("buy").fill("1")  # u ⊙ (0, 2) is 0
        form.get_by_label(HOSTILE).fill("2")
        form.get_by_label(HOSTILE).press("Tab")
        settled(page, "#answer-a .name", list("deafbc"))  # u ⊙ (1 - 2) is (-1, 0): the cheapest first
        assert page.title() == "shop: explorer"
        page.close()
    stores.close()


def test_an_old_log_is_asked_at_its_end(browser, tmp_path):
    shop_export.write(tmp_path / "root", 1, until=1_500_000_000)
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    with Server(tmp_path / "root", rest_port=0, grpc_port=0, stores=stores) as server:
        page, asked = browser.new_page(timezone_id="Asia/Tokyo"), []
        page.on("request", lambda one: asked.append(one.post_data_json) if one.url.endswith("recommend") else None)
        page.goto(f"http://127.0.0.1:{server.rest_port}")
        page.get_by_label("A user of the store, by id").fill("u1")
        page.get_by_label("A user of the store, by id").press("Enter")
        settled(page, "#answer-a .name", list("cbafde"))
        assert "is of 2017-07-14" in page.locator("#old-log").inner_text()
        page.get_by_role("button", name="Choose b").click()
        settled(page, "#status", "User u1 chose b on 2017-07-14: the answer has moved.")
        moment = 1_500_000_060 // 60 * 60  # the field has minutes
        assert [one["features"]["timestamp"] for one in asked][-2:] == [moment, moment + 60]  # just after the event
        assert [event.timestamp for event in stores.history.last(["u1"], 9)[0]] == [moment]
        with page.expect_request("**/v1/recommend") as now:
            page.locator("form[data-panel=a] [name=moment]").fill("")
        assert "features" not in now.value.post_data_json
        page.close()
    stores.close()


def test_keyboard_and_screen_reader_find_everything(page):
    unnamed = page.evaluate("""[...document.querySelectorAll("input, select, button")].filter((one) =>
        one.checkVisibility() && !one.innerText && !one.labels?.length && !one.getAttribute("aria-label"))
        .map((one) => one.outerHTML)""")
    assert unnamed == []
    page.locator("#user").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "find"
    assert page.locator("#status").get_attribute("aria-live") == "polite"


def test_the_interface_is_described_without_another_machine(browser, server):
    page, base = browser.new_page(), f"http://127.0.0.1:{server.rest_port}"
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(f"{base}/docs")
    page.get_by_text("Recommend items to one user by the rules of the request").click()
    page.wait_for_selector("text=exclude_seen")
    assert wrong == [] and all(url.startswith((base, "data:")) for url in asked)
    page.close()


def test_a_rule_by_range(page):
    form = page.locator("form[data-panel=a]")
    form.locator("[name=allow-name]").select_option("price")
    form.locator("[name=allow-value]").fill("2..3")
    form.locator("[name=allow-value]").press("Tab")
    settled(page, "#answer-a .name", ["b", "c"])
    form.locator("[name=allow-value]").fill("50..60")
    form.locator("[name=allow-value]").press("Tab")
    settled(page, "#took-a", "The rules leave nothing to offer.")
