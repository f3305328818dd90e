// A picture with a frame that is dragged, or moved by arrow keys and with Shift resized by them.
window.ccsrCutFrame = (element, props, trigger, watch) => {
    const LEAST = 16, STEP = 0.02;
    const root = element.querySelector(".cut-frame");
    let value = null, box = null, start = null;
    const clamp = (number, low, high) => Math.round(Math.min(Math.max(number, low), high));

    root.innerHTML = `<div class="cut-picture"><img alt="The whole picture"><div class="cut-box"
        tabindex="0" role="group" aria-label="Part to cut out: arrow keys move it, with Shift they
        resize it"><div class="cut-corner"></div></div></div><div class="cut-actions"><span></span>
        <button type="button">Cut out</button></div>`;
    const picture = root.querySelector(".cut-picture"), frame = root.querySelector(".cut-box");

    // The width counts: with it, the height is at most what the pixels allow.
    const set = (left, top, width, height) => {
        width = clamp(width, LEAST, Math.min(value.width, value.most / LEAST));
        height = clamp(height, LEAST, Math.min(value.height, Math.floor(value.most / width)));
        left = clamp(left, 0, value.width - width);
        top = clamp(top, 0, value.height - height);
        box = { left, top, width, height };
        const share = (number, side) => `${(100 * number) / side}%`;
        Object.assign(frame.style, {
            left: share(left, value.width), top: share(top, value.height),
            width: share(width, value.width), height: share(height, value.height),
        });
        root.querySelector("span").textContent = `${width}x${height} pixels`;
    };

    const show = () => {
        value = props.value;
        root.hidden = !value;
        if (!value) return;
        root.querySelector("img").src = value.file.url;
        const factor = Math.min(1, Math.sqrt(value.most / (value.width * value.height)));
        const [width, height] = [value.width * factor, value.height * factor];
        set((value.width - width) / 2, (value.height - height) / 2, Math.floor(width), Math.floor(height));
    };

    frame.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        frame.focus();
        frame.setPointerCapture(event.pointerId);
        start = { x: event.clientX, y: event.clientY, box, isCorner: event.target !== frame };
    });
    frame.addEventListener("pointermove", (event) => {
        if (!start) return;
        const scale = value.width / picture.clientWidth;
        const [x, y] = [(event.clientX - start.x) * scale, (event.clientY - start.y) * scale];
        const { left, top, width, height } = start.box;
        if (start.isCorner) set(left, top, Math.min(width + x, value.width - left), Math.min(height + y, value.height - top));
        else set(left + x, top + y, width, height);
    });
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => { start = null; });
    frame.addEventListener("keydown", (event) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!way) return;
        event.preventDefault();
        const [x, y] = way.map((part) => part * STEP * value.width);
        const { left, top, width, height } = box;
        if (event.shiftKey) set(left, top, width + x, height + y);
        else set(left + x, top + y, width, height);
    });
    root.querySelector("button").addEventListener("click", () => trigger("select", box));
    show();
    watch("value", show);
};
