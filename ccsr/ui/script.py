"""The script of the page: what its components lack for keyboards, screen readers and phones."""

SCRIPT = """
const DRAWER = ".drawer-handle";

// A slider sends its new value when a pointer releases it; send it when a key does, too.
document.addEventListener("keyup", ({ key, target }) => {
    const moved = /^(Arrow|Page|Home|End)/.test(key) && target.matches("input[type=range]");
    if (moved) target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});

// Gradio's page about the API asks for what is not here: a server of the Model Context Protocol,
// and statistics of visitors.
const ABSENT = /\\/(mcp\\/schema|monitoring\\/summary)$/;
const askServer = window.fetch;
window.fetch = (...request) => ABSENT.test(request[0]?.url ?? request[0])
    ? Promise.resolve(new Response("null", { status: 404 }))
    : askServer(...request);

// Names and roles, and one tab stop for all tabs.
const describe = () => {
    for (const button of document.querySelectorAll("#examples button:not([aria-label])")) {
        const file = button.querySelector("img")?.src.split("/").pop() ?? "";
        button.setAttribute("aria-label", `Example ${file.split(".")[0]}`);
    }
    for (const handle of document.querySelectorAll(`${DRAWER}:not([aria-expanded])`)) {
        handle.setAttribute("aria-expanded", "false");
    }
    for (const tab of document.querySelectorAll("[role=tab]")) {
        const index = tab.getAttribute("aria-selected") === "true" ? 0 : -1;
        if (tab.tabIndex !== index) tab.tabIndex = index;
    }
};
new MutationObserver(describe).observe(document, {
    childList: true,
    subtree: true,
    attributeFilter: ["aria-selected"],
});

const chooseTab = (event, way) => {
    event.preventDefault();
    const tabs = [...event.target.closest("[role=tablist]").querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(event.target) + way + tabs.length) % tabs.length];
    next.click();
    next.focus();
};
document.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && event.target.matches("[role=tab]")) chooseTab(event, way);
});

// On a narrow page the settings are a drawer at its foot.
document.addEventListener("click", ({ target }) => {
    const handle = target.closest?.(DRAWER);
    if (!handle) return;
    const isOpen = handle.closest(".settings").classList.toggle("open");
    handle.setAttribute("aria-expanded", isOpen);
});
"""
