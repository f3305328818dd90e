"""Colours, fonts and spacing of the page, light and dark."""

import gradio as gr

THEME = gr.themes.Default(
    primary_hue=gr.themes.colors.violet,
    secondary_hue=gr.themes.colors.violet,
    neutral_hue=gr.themes.colors.slate,
    # Bundled with Gradio: nothing is fetched. Its file for weight 600 lacks most letters.
    font=(
        gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)),
        "ui-sans-serif",
        "system-ui",
        "sans-serif",
    ),
    radius_size=gr.themes.sizes.radius_md,
).set(
    # Text on all of these has a contrast of at least 4.5:1.
    body_text_color_subdued="*neutral_600",
    color_accent="*primary_600",
    link_text_color_dark="*primary_300",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_cancel_background_fill="#b91c1c",
    button_cancel_background_fill_dark="#b91c1c",
    button_cancel_background_fill_hover="#991b1b",
    button_cancel_background_fill_hover_dark="#991b1b",
)

OUTSIDE = """<style>
/* Outside of what Gradio applies the CSS below to. */
/* A narrow page has no link to the API, and one link is not divided from others. */
@media (max-width: 640px) { footer .divider { display: none !important; } }
</style>"""

CSS = """
.gradio-container > main { max-width: 1400px !important; margin: 0 auto; padding: 20px 24px; }
.dark { --color-accent: var(--primary-400); }

.heading { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; }
.heading h1 { font-size: 1.5rem; font-weight: 600; margin: 0; }
.heading p { margin: 0; color: var(--body-text-color-subdued); }
.heading .model { margin-left: auto; font-size: var(--text-sm); }

/* Picture and settings on the left, the tabs on the right; below 900 px one column. */
.workspace {
    display: grid !important;
    grid-template:
        "picture tabs" auto "examples tabs" auto "settings tabs" 1fr
        / minmax(300px, 360px) minmax(0, 1fr);
    gap: 12px 28px;
}
.workspace > .column { gap: 12px; }
.workspace > .picture { grid-area: picture; }
.workspace > .examples-side { grid-area: examples; }
.workspace > .settings { grid-area: settings; }
.workspace > .tabs-side { grid-area: tabs; min-width: 0 !important; }

/* A slider in one line. */
.sizing { max-width: 720px; align-items: stretch; }
.sizing .wrap:has(> .slider_input_container) {
    display: flex; flex-flow: row wrap; align-items: center; gap: 4px 16px;
}
.sizing .head {
    flex: 0 0 auto; width: auto !important; margin: 0; gap: 12px;
    flex-direction: row; align-items: center;
}
.sizing .slider_input_container { flex: 1 1 160px; min-width: 0; }
.sizing .inline label { display: flex; align-items: center; gap: 8px; white-space: nowrap; }
.sizing .inline input { flex: 0 0 5.5em; min-width: 5.5em; }
@media (max-width: 640px) { .sizing .form > * { flex-grow: 1 !important; } }

.drawer-handle { display: none; }
@media (max-width: 900px) {
    .workspace {
        grid-template: "picture" auto "examples" auto "tabs" auto / minmax(0, 1fr);
    }
    .workspace > * { min-width: 0 !important; }
    /* A drawer at the foot of the page, lower than half of it: the result stays in view. */
    .workspace > .settings {
        position: fixed; inset: auto 0 0 0; z-index: 40; max-height: 46vh; overflow-y: auto;
        padding: 6px 16px; gap: 8px; background: var(--body-background-fill);
        border-top: 1px solid var(--border-color-primary); box-shadow: 0 -4px 16px rgb(0 0 0 / .15);
    }
    .settings > .drawer-handle {
        display: block; position: sticky; top: 0; z-index: 1; min-height: 40px; flex-shrink: 0;
    }
    .settings:not(.open) > :not(.drawer-handle) { display: none !important; }
    .workspace { padding-bottom: 64px; }
    .workspace:has(> .settings.open) { padding-bottom: 50vh; }
}

.gradio-container .html-container { padding: 0; }
.block:has(> .html-container > .prose:empty) { display: none; }

.line { margin: 0; line-height: 1.45; }
.line.quiet { color: var(--body-text-color-subdued); font-size: var(--text-sm); }
.line.error { color: var(--error-text-color, #b91c1c); }
.dark .line.error { color: #fca5a5; }

.line.stale { color: #9a3412; font-size: var(--text-sm); }
.dark .line.stale { color: #fdba74; }
/* What is shown is of an earlier choice; not at once, for a run that takes no time. */
.block :is(.loupe-cells, svg.plot) { transition: opacity .2s .3s; }
.told:has(.stale) ~ * :is(.loupe-cells, svg.plot) { opacity: .35; }

.told { gap: 2px 16px; flex-wrap: wrap; }
.told > * { flex: 0 1 auto !important; min-width: 0 !important; width: auto !important; }
.told:not(:has(p)) { display: none; }
/* The bar of a run says how much time is left of it. Nothing moves when it comes and goes. */
[id$=-status]:has(.run) ~ .told [id$=-expected] { visibility: hidden; }

.run .bar {
    height: 6px; border-radius: 3px; overflow: hidden; margin-bottom: 6px;
    background: var(--border-color-primary);
}
.run .bar > div { height: 100%; background: var(--color-accent); transition: width .2s; }
.run .line { font-variant-numeric: tabular-nums; }

.hint {
    border: 1px dashed var(--border-color-primary); border-radius: var(--block-radius);
    padding: 72px 24px; text-align: center; color: var(--body-text-color-subdued);
}
.prose .hint p { margin: 0 auto; max-width: 50ch; color: var(--body-text-color-subdued); }
.prose .hint p:first-child { color: var(--body-text-color); font-size: var(--text-lg); }
/* A result that no run has made, as that of a card, leaves the line of the run as it is. */
.block:has(.hint):has(~ .told [id$=-origin] p) { display: none; }

.facts { display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 0 0 6px; }
.facts dt { font-size: var(--text-sm); color: var(--body-text-color-subdued); }
.facts dd { margin: 0; font-weight: 500; font-variant-numeric: tabular-nums; }

.stability { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; }
.stability > div { flex: 1 1 300px; }
.curve { flex: 0 1 320px; margin: 0; color: var(--body-text-color-subdued); }
.curve svg { width: 100%; font-size: 11px; overflow: visible; }
.curve text { fill: currentColor; }
.curve line { stroke: currentColor; opacity: .6; }
.curve line.grid { stroke-dasharray: 2 4; opacity: .4; }
.curve polyline { fill: none; stroke: var(--color-accent); stroke-width: 2; }
.curve circle { fill: var(--color-accent); }

/* No narrower than it is drawn, so that its labels can be read: what holds it scrolls. */
svg.plot { width: 100%; min-width: 480px; height: auto; color: var(--body-text-color); }
svg.plot :is([id^=point-], [id^=halo-]) { cursor: pointer; }
svg.plot [id^=mark-] { cursor: ew-resize; touch-action: none; }
#trajectory-plot { max-width: 720px; }
@media (max-width: 640px) { .plot-side { min-width: 100% !important; } }
.examples { display: grid; grid-template-columns: repeat(6, minmax(48px, 72px)); gap: 6px; }
.examples button {
    padding: 0; text-align: center; border: 1px solid var(--border-color-primary); cursor: pointer;
    border-radius: var(--radius-md); overflow: hidden; font-size: var(--text-xs); line-height: 1.3;
    color: var(--body-text-color); background: var(--background-fill-secondary);
}
.examples img { display: block; width: 100%; height: 44px; object-fit: cover; margin: 0; }
.examples span { display: block; padding: 3px 2px; }
.examples button:is(:hover, :focus-visible) { border-color: var(--color-accent); }
.sparsification { max-width: 520px; margin: 8px 0 0; }

/* What is beyond an edge casts a shadow there. */
.scores, #sweep-plot, #trajectory-plot, .sparsification {
    overflow-x: auto !important;
    /* Gradio loses a shorthand that has a variable. */
    background-image:
        linear-gradient(to right, var(--body-background-fill) 40%, transparent),
        linear-gradient(to left, var(--body-background-fill) 40%, transparent),
        linear-gradient(to right, rgb(100 116 139 / .7), transparent),
        linear-gradient(to left, rgb(100 116 139 / .7), transparent);
    background-position: left, right, left, right;
    background-size: 48px 100%, 48px 100%, 16px 100%, 16px 100%;
    background-attachment: local, local, scroll, scroll;
    background-repeat: no-repeat !important;
}
.scores { margin-bottom: 8px; }
.scores:focus-visible { outline: 2px solid var(--color-accent); }
.prose .scores table { width: auto; border: 0; border-collapse: collapse; margin: 0; }
.prose .scores tr { border: 0; }
.prose .scores :is(th, td) {
    border: 0; border-top: 1px solid var(--border-color-primary);
    padding: 5px 0 5px 28px; text-align: right; font-weight: 400;
    font-variant-numeric: tabular-nums;
}
.prose .scores thead th { border-top: 0; }
.prose .scores :is(th[scope=row], thead th:first-child) { padding-left: 0; text-align: left; }
.prose .scores th[scope=row] { white-space: nowrap; }
.prose .scores tbody tr:nth-child(-n+2) > * { font-weight: 600; }

.explained dt { font-weight: 600; }
.explained dd { margin: 0 0 10px; font-size: var(--text-sm); line-height: 1.5; }

/* Nothing can be removed from results. */
#sweep-files .label-clear-button { display: none; }
.pending { opacity: 1 !important; }

button.stop:disabled { filter: grayscale(1); opacity: .5; }
.actions { align-items: stretch; }
.with-dice {
    flex-wrap: nowrap !important; align-items: flex-end; gap: 8px !important; max-width: 300px;
}
.with-dice label.container { display: flex; align-items: center; gap: 12px; }
.with-dice .block { padding: 4px 12px; }
.with-dice label.container > span { margin: 0; }
.dice { flex: 0 0 auto !important; padding-inline: 14px !important; }
.run-buttons { align-items: flex-end; }

/* Large enough for a finger, and the focus of the keyboard in sight. */
.icon-button-wrapper button, .source-selection button, button.icon,
input[type=number], .reset-button, .label-wrap, footer button, [role=tab] {
    min-height: 24px; min-width: 24px;
}
.label-wrap { align-items: center !important; }
input[type=range] { box-sizing: content-box !important; padding-block: 8px !important;
    margin-block: -8px !important; background-clip: content-box !important; }
:is(input, button, a, summary, [role=slider], [role=tab]):focus-visible {
    outline: 2px solid var(--color-accent) !important; outline-offset: 2px;
}
.result-columns .form > * { min-height: 92px; }

/* Several pictures: as many cards beside each other as fit, and no more than a part of the page. */
.cards {
    display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 10px;
    max-height: 460px; overflow-y: auto; padding: 3px;
}
.cards > div { min-width: 0; font-size: var(--text-sm); overflow-wrap: anywhere; }
.card {
    display: grid; grid-template: "img img" 96px "name state" auto / minmax(0, 1fr) auto;
    gap: 2px 8px; width: 100%; padding: 6px; text-align: left; color: var(--body-text-color);
    border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
    background: var(--background-fill-secondary);
}
.card.done { cursor: pointer; }
.card.done:hover { border-color: var(--color-accent); }
.card img { grid-area: img; width: 100%; height: 96px; object-fit: contain; margin: 0; }
.card .blank { grid-area: img; place-self: center; color: var(--body-text-color-subdued); }
.card .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.card .state { color: var(--body-text-color-subdued); }
.below-result { align-items: center; }

/* A drop zone no higher than its line of text. */
:is(#load-settings, #several-files) .icon-wrap { display: none; }
:is(#load-settings, #several-files) .wrap {
    padding-top: 1.6rem; min-height: 0; font-size: var(--text-sm);
}
"""
