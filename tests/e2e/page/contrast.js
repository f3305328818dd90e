// The texts in sight whose contrast to what is behind them is below 4.5:1, and that contrast.
() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const read = (color) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = color;
        context.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
        return [red, green, blue, alpha / 255];
    };
    const over = ([r, g, b, alpha], below) =>
        [r, g, b].map((level, i) => level * alpha + below[i] * (1 - alpha));
    const linear = (level) =>
        level <= 0.03928 * 255 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ancestors = function* (element) {
        for (let e = element; e; e = e.parentElement) yield e;
    };
    const found = {};
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
        const seen = element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
        if (!text || !seen || element.closest("script, style, :disabled")) continue;
        const chain = [...ancestors(element)].map((e) => getComputedStyle(e));
        const layers = chain.map((style) => read(style.backgroundColor)).reverse();
        const below = layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
        const color = read(element.closest("svg") ? chain[0].fill : chain[0].color);
        color[3] *= chain.reduce((opacity, style) => opacity * style.opacity, 1);
        const [high, low] = [over(color, below), below].map(luminance).sort((a, b) => b - a);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) found[text] = contrast;
    }
    return found;
}
