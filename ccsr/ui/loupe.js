// Pictures of one size, seen through one zoom and at one place. The zoom is in pixels of the screen
// a pixel of the picture, and 0 where the whole picture fits.
window.ccsrLoupe = (() => {
    const MAX_ZOOM = 32, KEY_ZOOMS = { 0: 0, 1: 1, 2: 2, 4: 4 };
    const FLICKER_MS = 500; // two changes a second: three are known to harm some people
    const WHEEL_OCTAVE = 300; // of scrolling, to double the zoom
    const MODES = { slide: "Slide", flicker: "Flicker", pair: "Side by side", all: "All" };
    // The place is what is in the middle, as shares of width and height.
    const sight = { zoom: 0, x: 0.5, y: 0.5, size: "" };
    const loupes = new Set();
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

    const made = (parent, tag, name, attributes = {}) => {
        const node = document.createElement(tag);
        node.className = name;
        for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
        parent.append(node);
        return node;
    };

    const button = (parent, text, title, act) => {
        const node = made(parent, "button", "", { type: "button", title });
        node.textContent = text;
        node.addEventListener("click", act);
        return node;
    };

    const drawAll = () => {
        for (const loupe of loupes) {
            if (loupe.element.isConnected) loupe.draw();
            else loupes.delete(loupe);
        }
    };

    class Loupe {
        constructor(element, trigger) {
            Object.assign(this, { element, trigger, views: [], images: new Map(), border: 0.5 });
            Object.assign(this, { mode: "slide", isFirst: false, asked: 0, chosen: {}, stages: [] });
            this.bar = made(element, "div", "loupe-bar");
            this.cells = made(element, "div", "loupe-cells");
            this.scale = made(element, "div", "loupe-scale");
            this.reading = made(element, "p", "loupe-reading");
            this.buildBar();
            const sizes = new ResizeObserver(() => this.draw());
            sizes.observe(element);
            // What fits depends on what stands above, which comes and goes with the lines of a run.
            const around = element.closest("[role=tabpanel]");
            if (around) sizes.observe(around);
            document.addEventListener("fullscreenchange", () => this.draw());
            loupes.add(this);
        }

        buildBar() {
            const group = (label) => made(this.bar, "div", "loupe-group", { role: "group", "aria-label": label });
            const choices = this.choices = group("Pictures");
            this.selects = ["left", "right"].map((side) => {
                const label = side === "left" ? "Left picture" : "Right picture";
                const select = made(choices, "select", "", { "aria-label": label });
                select.addEventListener("change", () => this.choose(side, select.value));
                return select;
            });
            const modes = group("Compare by");
            this.modes = Object.entries(MODES).map(([mode, text]) => [
                mode, button(modes, text, "", () => this.setMode(mode)),
            ]);
            const zooms = group("Zoom");
            this.zooms = Object.values(KEY_ZOOMS).map((zoom) => [
                zoom, button(zooms, zoom ? `${zoom}:1` : "Fit", "", () => this.setZoom(zoom)),
            ]);
            this.full = button(this.bar, "Full screen", "", () =>
                document.fullscreenElement ? document.exitFullscreen() : this.element.requestFullscreen());
            this.full.hidden = !document.fullscreenEnabled;
        }

        update(value) {
            // The same pictures come with a result and again with what is said of it.
            const given = JSON.stringify(value);
            if (given === this.given) return;
            this.given = given;
            this.element.hidden = !value;
            if (!value) return;
            const isOther = !this.views.length;
            Object.assign(this, { views: value.views, width: value.width, height: value.height });
            this.palette = new Map(value.palette.map((color, index) => [color, index]));
            const names = value.views.map(({ name }) => name);
            if (value.asked !== this.asked) this.chosen = {};
            for (const side of ["left", "right"]) {
                const chosen = this.chosen[side];
                this[side] = names.includes(chosen) ? chosen : value[side];
            }
            if (isOther || value.asked !== this.asked) this.mode = value.mode;
            Object.assign(this, { asked: value.asked, opens: value.opens });
            this.element.style.setProperty("--columns", value.columns || "auto-fill");
            this.element.style.setProperty("--least", value.columns ? "0px" : "min(180px, 47%)");
            const size = `${value.width}x${value.height}`;
            if (sight.size !== size) Object.assign(sight, { zoom: 0, x: 0.5, y: 0.5, size });
            this.images = new Map(this.views.map((view) => [view.name, this.image(view)]));
            this.build();
        }

        image({ name, file }) {
            const image = this.images.get(name) ?? new Image();
            Object.assign(image, { alt: name, draggable: false });
            if (image.getAttribute("src") !== file.url) image.src = file.url;
            return image;
        }

        choose(side, name) {
            this[side] = this.chosen[side] = name;
            this.trigger("select", { left: this.left, right: this.right });
            this.build();
        }

        setMode(mode) {
            this.mode = mode;
            this.build();
        }

        view(name) {
            return this.views.find((view) => view.name === name);
        }

        build() {
            clearInterval(this.flickering);
            const both = [this.left, this.right];
            const cells = { pair: both.map((name) => [name]), all: this.views.map(({ name }) => [name]) };
            this.cells.replaceChildren();
            this.cells.dataset.mode = this.mode;
            const shown = this.views.length === 1 ? [[this.left]] : cells[this.mode] ?? [both];
            this.stages = shown.map((names) => this.stage(names));
            this.isFirst = false;
            const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
            if (this.mode === "flicker" && !isStill) {
                this.flickering = setInterval(() => this.swap(), FLICKER_MS);
            }
            this.fillBar(both);
            this.fillScale();
            this.draw();
        }

        fillBar(both) {
            const isPair = this.views.length < 3;
            this.selects.forEach((select, index) => {
                select.replaceChildren(...this.views.map(({ name }) => new Option(name)));
                select.value = both[index];
            });
            this.choices.hidden = isPair || this.mode === "all";
            for (const [mode, node] of this.modes) {
                node.setAttribute("aria-pressed", mode === this.mode);
                node.hidden = mode === "all" ? isPair : this.views.length === 1;
            }
        }

        fillScale() {
            const names = this.mode === "all" ? [...this.images.keys()] : [this.left, this.right];
            const scaled = names.map((name) => this.view(name)).filter(({ levels }) => levels);
            const levels = [...new Set(scaled.map((view) => view.levels))];
            const colors = [...this.palette.keys()].filter((_, index) => index % 15 === 0);
            this.scale.replaceChildren(...levels.map((level) => {
                const scale = document.createElement("div");
                const strip = made(scale, "div", "");
                strip.style.backgroundImage = `linear-gradient(to right, ${colors.map((c) => "#" + c)})`;
                const texts = [0, level / 2, `${level} grey levels`];
                // Maps of different scales are told apart.
                const named = scaled.filter((view) => view.levels === level).map(({ name }) => name);
                if (levels.length > 1) texts[0] = `${[...new Set(named)].join(", ")}: 0`;
                for (const text of texts) made(scale, "span", "").textContent = text;
                return scale;
            }));
        }

        stage(names) {
            const cell = made(this.cells, "figure", "loupe-cell");
            const stage = made(cell, "div", "loupe-stage", {
                tabindex: 0, role: "group",
                "aria-label": `${names.join(" and ")}: plus and minus zoom, arrow keys move, 0 fits`,
            });
            const panes = names.map((name) => {
                const pane = made(stage, "div", "loupe-pane");
                // The same picture on both sides is shown twice.
                const image = this.images.get(name);
                pane.append(image.parentElement?.parentElement === stage ? image.cloneNode() : image);
                return pane;
            });
            const captions = names.map((name) => {
                const caption = made(cell, "figcaption", "");
                caption.textContent = name;
                return caption;
            });
            const all = { cell, stage, names, panes, captions };
            if (this.mode === "slide" && names.length === 2) this.addBorder(all);
            this.listen(all);
            return all;
        }

        addBorder(all) {
            all.border = made(all.stage, "div", "loupe-border", {
                tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 100,
                "aria-label": "Border between the two pictures, moved by arrow keys",
            });
            all.border.addEventListener("keydown", (event) => {
                const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
                if (!way) return;
                event.preventDefault();
                event.stopPropagation();
                this.setBorder(this.border + 0.02 * way);
            });
        }

        setBorder(share) {
            this.border = clamp(share, 0, 1);
            this.draw();
        }

        swap() {
            this.isFirst = !this.isFirst;
            this.draw();
        }

        // Where the picture lies in a stage of this width and height, in pixels of the page.
        place(width, height, zoom) {
            const ratio = devicePixelRatio, across = (this.width * zoom) / ratio, down = (this.height * zoom) / ratio;
            const start = (room, side, middle) =>
                side <= room ? (room - side) / 2 : clamp(room / 2 - middle * side, room - side, 0);
            const snapped = (value) => Math.round(value * ratio) / ratio;
            return {
                across, down, left: snapped(start(width, across, sight.x)), top: snapped(start(height, down, sight.y)),
            };
        }

        // Height between what stands above on the page and a line of facts at the foot of the window.
        inSight() {
            const above = this.cells.getBoundingClientRect().top + scrollY;
            return Math.max(innerHeight * 0.4, innerHeight - above - 110);
        }

        // What a small picture needs to be shown at 1:1, of a large one what is a size to look at.
        unshrunk() {
            const height = this.height / devicePixelRatio;
            return height <= 640 ? height : 440;
        }

        fitting(width) {
            const isFull = document.fullscreenElement === this.element;
            const rest = isFull ? this.element.clientHeight - this.cells.clientHeight + 24 : 0;
            const rows = this.mode === "all" ? 2 : 1;
            const most = isFull ? innerHeight - this.bar.offsetHeight - this.scale.offsetHeight - 80
                : Math.max(this.inSight(), this.unshrunk()) / rows;
            return Math.min(width / this.width, most / this.height) * devicePixelRatio;
        }

        draw() {
            if (!this.element.clientWidth || !this.stages.length) return;
            for (const all of this.stages) this.drawStage(all);
            const zoom = sight.zoom;
            for (const [value, node] of this.zooms) node.setAttribute("aria-pressed", value === zoom);
            this.zooms[0][1].title = `${this.zoom().toFixed(2)} pixels of the screen a pixel`;
        }

        drawStage(all) {
            const width = all.stage.clientWidth, fitting = this.fitting(width);
            const height = Math.round((this.height * fitting) / devicePixelRatio);
            all.stage.style.height = `${height}px`;
            const zoom = sight.zoom || fitting;
            all.placed = this.place(width, height, zoom);
            const { across, down, left, top } = all.placed;
            const isWhole = across <= width + 1 && down <= height + 1;
            all.stage.classList.toggle("movable", !isWhole);
            all.panes.forEach((pane, index) => {
                const style = { left: `${left}px`, top: `${top}px`, width: `${across}px`, height: `${down}px` };
                Object.assign(pane.firstChild.style, style, { imageRendering: zoom >= 2 ? "pixelated" : "auto" });
                pane.style.visibility = this.mode === "flicker" && all.panes[1] && this.isFirst === (index === 1) ? "hidden" : "";
                all.captions[index].style.visibility = pane.style.visibility;
            });
            if (!all.border) return;
            const from = Math.max(left, 0), to = Math.min(left + across, width);
            const x = from + this.border * (to - from);
            Object.assign(all, { from, to });
            all.border.style.left = `${x}px`;
            all.border.setAttribute("aria-valuenow", Math.round(100 * this.border));
            all.panes[0].style.clipPath = `inset(0 ${width - x}px 0 0)`;
            all.panes[1].style.clipPath = `inset(0 0 0 ${x}px)`;
        }

        zoom(all = this.stages[0]) {
            return sight.zoom || this.fitting(all.stage.clientWidth);
        }

        setZoom(zoom) {
            sight.zoom = zoom;
            drawAll();
        }

        // Zoom so that what is at x, y in the stage stays there.
        zoomAt(all, zoom, x, y) {
            const { left, top, across, down } = all.placed, { clientWidth, clientHeight } = all.stage;
            const share = { x: (x - left) / across, y: (y - top) / down };
            const fitting = this.fitting(clientWidth);
            sight.zoom = zoom <= fitting ? 0 : Math.min(zoom, MAX_ZOOM);
            const factor = (sight.zoom || fitting) / devicePixelRatio;
            sight.x = share.x + (clientWidth / 2 - x) / (this.width * factor);
            sight.y = share.y + (clientHeight / 2 - y) / (this.height * factor);
            this.keepInside(all);
            drawAll();
        }

        move(all, x, y) {
            sight.x -= x / all.placed.across;
            sight.y -= y / all.placed.down;
            this.keepInside(all);
            drawAll();
        }

        keepInside(all) {
            const { clientWidth, clientHeight } = all.stage, zoom = this.zoom(all) / devicePixelRatio;
            const middle = (place, room, side) => {
                const half = Math.min(room / 2 / side, 0.5);
                return clamp(place, half, 1 - half);
            };
            sight.x = middle(sight.x, clientWidth, this.width * zoom);
            sight.y = middle(sight.y, clientHeight, this.height * zoom);
        }

        listen(all) {
            const { stage } = all, at = (event) => {
                const box = stage.getBoundingClientRect();
                return [event.clientX - box.left, event.clientY - box.top];
            };
            this.listenToMouse(all, at);
            this.listenToFingers(all, at);
            stage.addEventListener("wheel", (event) => {
                if (!event.ctrlKey && !this.isEntered && document.fullscreenElement !== this.element) return;
                event.preventDefault();
                this.zoomAt(all, this.zoom(all) * 2 ** (-event.deltaY / WHEEL_OCTAVE), ...at(event));
            }, { passive: false });
            stage.addEventListener("keydown", (event) => this.press(all, event));
        }

        press(all, event) {
            const { clientWidth, clientHeight } = all.stage, middle = [clientWidth / 2, clientHeight / 2];
            const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
            const factor = { "+": 2, "=": 2, "-": 0.5 }[event.key];
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            if (event.key in KEY_ZOOMS) this.setZoom(KEY_ZOOMS[event.key]);
            else if (factor) this.zoomAt(all, this.zoom(all) * factor, ...middle);
            else if (step && all.stage.classList.contains("movable")) this.move(all, 40 * step[0], 40 * step[1]);
            else if (event.key === " " && this.mode === "flicker") this.hold();
            else if (event.key === "Enter" && this.mode === "all") this.open(all);
            else return;
            event.preventDefault();
        }

        // Flickering by hand from here on.
        hold() {
            clearInterval(this.flickering);
            this.swap();
        }

        open(all) {
            this.mode = "slide";
            this.choose(this.opens, all.names[0]);
        }

        listenToMouse(all, at) {
            const { stage } = all;
            let last = null, moved = 0;
            stage.addEventListener("pointerdown", (event) => {
                const isBorder = event.target === all.border;
                const isMoved = event.pointerType !== "touch" || document.fullscreenElement === this.element;
                if (event.button || !(isBorder || isMoved)) return;
                event.preventDefault();
                (isBorder ? all.border : stage).focus({ preventScroll: true });
                this.isEntered = true;
                last = { isBorder: isBorder || (all.border && !stage.classList.contains("movable")), at: at(event) };
                moved = 0;
                stage.setPointerCapture(event.pointerId);
            });
            stage.addEventListener("pointermove", (event) => {
                const now = at(event);
                this.read(all, ...now);
                if (!last) return;
                const [x, y] = [now[0] - last.at[0], now[1] - last.at[1]];
                moved += Math.abs(x) + Math.abs(y);
                last.at = now;
                if (!last.isBorder) this.move(all, x, y);
                else this.setBorder((now[0] - all.from) / (all.to - all.from));
            });
            const end = () => { last = null; };
            stage.addEventListener("pointerup", end);
            stage.addEventListener("pointercancel", end);
            stage.addEventListener("pointerleave", () => {
                this.isEntered = false;
                this.reading.textContent = "";
            });
            stage.addEventListener("click", () => {
                if (moved > 4) return;
                if (this.mode === "all") this.open(all);
                if (this.mode === "flicker") this.hold();
            });
        }

        // One finger scrolls the page, two move and zoom the picture.
        listenToFingers(all, at) {
            let last = null;
            const pinch = ([first, second]) => {
                const [a, b] = [at(first), at(second)];
                return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, apart: Math.hypot(a[0] - b[0], a[1] - b[1]) };
            };
            all.stage.addEventListener("touchstart", (event) => {
                last = event.touches.length === 2 ? pinch(event.touches) : null;
                if (last) event.preventDefault();
            }, { passive: false });
            all.stage.addEventListener("touchmove", (event) => {
                if (!last || event.touches.length !== 2) return;
                event.preventDefault();
                const now = pinch(event.touches);
                this.move(all, now.x - last.x, now.y - last.y);
                this.zoomAt(all, (this.zoom(all) * now.apart) / last.apart, now.x, now.y);
                last = now;
            }, { passive: false });
            all.stage.addEventListener("touchend", () => { last = null; });
        }

        read(all, x, y) {
            const { left, top, across, down } = all.placed;
            const column = Math.floor(((x - left) / across) * this.width);
            const row = Math.floor(((y - top) / down) * this.height);
            const isInside = column >= 0 && row >= 0 && column < this.width && row < this.height;
            const values = this.views.filter(({ is_map }) => is_map).map((view) => {
                const index = this.indexAt(this.images.get(view.name), column, row);
                if (index === null) return `${view.name} transparent`;
                const value = ((index * view.levels) / 255).toFixed(view.levels < 5 ? 2 : 1);
                return `${view.name} ${value}${index === 255 ? " or more" : ""} grey levels`;
            });
            this.reading.textContent = isInside ? [`${column}, ${row}`, ...values].join(" · ") : "";
        }

        // The number of the colour that a map has there; null where it is transparent.
        indexAt(image, column, row) {
            this.canvas ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
            this.canvas.clearRect(0, 0, 1, 1);
            this.canvas.drawImage(image, -column, -row);
            const [red, green, blue, alpha] = this.canvas.getImageData(0, 0, 1, 1).data;
            if (!alpha) return null;
            const color = [red, green, blue];
            return this.palette.get(color.map((part) => part.toString(16).padStart(2, "0")).join("")) ?? 0;
        }
    }

    return (element, props, trigger, watch) => {
        const root = element.querySelector(".loupe"), loupe = new Loupe(root, trigger);
        loupe.update(props.value);
        watch("value", () => loupe.update(props.value));
    };
})();
