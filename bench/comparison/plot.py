"""Panels of lines on logarithmic axes, as SVG."""

import html
import math

WIDTH, HEIGHT, COLUMNS = 340, 300, 3  # of a panel; panels in a row
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 66, 42
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind too


def ticks(low, high):
    """Powers of two from at most `low` to at least `high`."""
    first, last = math.floor(math.log2(low) + 1e-9), math.ceil(math.log2(high) - 1e-9)
    step = max(1, math.ceil((last - first) / 6))
    return [2.0**power for power in range(first, last + step, step)]


def number(value):
    return f"{value:.0f}" if value >= 1 else f"{value:.3g}"


def text(x, y, words, anchor="middle", size=11, colour="#333", extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{extra}>'
            f"{html.escape(words)}</text>")


def panel(title, x_label, xs, series):
    """Values of each series over its first one; grey, what grows as x does."""
    relative = {name: [value / values[0] for value in values] for name, values in series.items()}
    proportional = [x / xs[0] for x in xs]
    every = [value for values in relative.values() for value in values] + proportional
    x_ticks, y_ticks = xs, ticks(min(every), max(every))
    x_span = math.log(xs[-1] / xs[0]) if len(xs) > 1 else 1
    y_span = math.log(y_ticks[-1] / y_ticks[0]) or 1

    def place(x, y):
        return (LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / xs[0]) / x_span,
                HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(y / y_ticks[0]) / y_span)

    parts = [text(WIDTH / 2, 16, title, size=13, extra=' font-weight="bold"')]
    for tick in y_ticks:
        _, y = place(xs[0], tick)
        parts += [f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
                  text(LEFT - 5, y + 4, f"{number(tick)}×", "end")]
    for tick in x_ticks:
        parts.append(text(place(tick, y_ticks[0])[0], HEIGHT - BOTTOM + 16, number(tick)))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label))

    def line(values, style):
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(xs, values))
        return f'<polyline points="{points}" fill="none" {style}/>'

    parts.append(line(proportional, 'stroke="#999" stroke-dasharray="3 3"'))
    for i, (name, values) in enumerate(relative.items()):
        colour = COLOURS[i % len(COLOURS)]
        parts.append(line(values, f'stroke="{colour}" stroke-width="2"'))
        parts += ['<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(*place(x, y), colour)
                  for x, y in zip(xs, values)]
        parts.append(text(LEFT + (i % 2) * 145, 34 + 16 * (i // 2), f"● {name}", "start", colour=colour))
    return "".join(parts)


def svg(panels):
    """Of (title, x label, xs, {name: values}); values are above 0."""
    columns = min(COLUMNS, len(panels))
    width, height = columns * WIDTH, math.ceil(len(panels) / columns) * HEIGHT
    drawn = "\n".join(f'<g transform="translate({i % columns * WIDTH} {i // columns * HEIGHT})">{panel(*one)}</g>'
                      for i, one in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" role="img">\n<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n')
