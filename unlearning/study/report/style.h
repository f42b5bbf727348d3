// The look of the report's page: light and dark by the reader's setting, and for print.
#pragma once

namespace nepenthe {

inline constexpr const char* page_style = R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --quiet: #59636e; --rule: #d5dae0; --faint: #eef1f4; --link: #0a58a6;
  --s0: #0068a8; --s1: #b84a00; --s2: #00755a; --s3: #9a3f80; --s4: #6f6300; --s5: #4d5560;
  --good: #00664f; --partly: #7d5700; --bad: #a8320f;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e4e8ec; --quiet: #a0aab4; --rule: #3a4149; --faint: #20252b; --link: #7cb8f0;
    --s0: #5cb3ee; --s1: #f39454; --s2: #43c7a0; --s3: #e08fc4; --s4: #d6c64a; --s5: #b3bcc6;
    --good: #4fd0a8; --partly: #e6b85c; --bad: #ff9370;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p, ol, ul, dl { max-width: 42rem; margin: .6rem 0; overflow-wrap: break-word; }
a { color: var(--link); }
.lead { font-size: 1.1rem; }
nav ol { columns: 2 16rem; padding-left: 1.7rem; }
nav li { margin: .1rem 0; }
figure { margin: 1.4rem 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
.note { color: var(--quiet); font-size: .85rem; line-height: 1.45; margin: .4rem 0 0; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .85rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; font-weight: 400; vertical-align: top; }
thead tr:first-child th:first-child, tbody th { text-align: left; padding-left: 0; }
tbody th { white-space: normal; min-width: 12rem; max-width: 18rem; position: sticky; left: 0; background: var(--paper); }
thead th { color: var(--quiet); vertical-align: bottom; }
thead tr:last-child th, thead th[rowspan] { border-bottom: 1px solid var(--ink); }
thead th.group { text-align: left; padding-bottom: .1rem; }
thead th.group span { display: block; border-bottom: 1px solid var(--rule); padding-bottom: .15rem; }
tbody tr + tr > * { border-top: 1px solid var(--faint); }
tbody + tbody tr:first-child > * { border-top: 1px solid var(--rule); }
tbody:last-child tr:last-child > * { border-bottom: 1px solid var(--rule); }
sup { font-size: .7em; line-height: 0; margin-left: .15em; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem 1.6rem; }
.panels.three { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.panels + .panels { margin-top: 1.2rem; }
.panels.single { grid-template-columns: minmax(0, 30rem); }
.panel { max-width: 30rem; break-inside: avoid; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg svg { overflow: hidden; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; fill: var(--ink); }
svg .title { font-weight: 600; font-size: 12.5px; }
svg .tick { fill: var(--quiet); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .label { fill: var(--quiet); }
svg .colored { fill: var(--c); }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .axis { stroke: var(--quiet); stroke-width: 1; fill: none; }
svg .grid { stroke: var(--rule); stroke-width: .6; }
svg .line { stroke: var(--c); stroke-width: 1.8; fill: none; stroke-linejoin: round; }
svg .area { fill: var(--c); fill-opacity: .2; stroke: none; }
svg .mark { fill: var(--c); stroke: var(--paper); stroke-width: .8; }
svg .hollow { fill: none; stroke: var(--c); stroke-width: 1.6; }
svg .reference { stroke: var(--c, var(--quiet)); stroke-width: 1.1; stroke-dasharray: 1.5 3; fill: none; }
svg .cell { fill: var(--faint); stroke: var(--rule); stroke-width: 1; }
svg .forgotten { fill: var(--s3); fill-opacity: .8; }
svg .neutral { --c: var(--quiet); }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); }
.s3 { --c: var(--s3); } .s4 { --c: var(--s4); } .s5 { --c: var(--s5); }
svg .d1 { stroke-dasharray: 6 3; } svg .d2 { stroke-dasharray: 2 2.5; } svg .d3 { stroke-dasharray: 8 3 2 3; }
svg .d4 { stroke-dasharray: 4 2; } svg .d5 { stroke-dasharray: 1 3; }
@media (max-width: 40rem) { tbody th { min-width: 8.5rem; max-width: 10rem; } }
.claim { margin: 1.6rem 0; break-inside: avoid; }
.claim h3 { margin: 0; }
.claim ul { padding-left: 1.2rem; }
.verdict { display: inline-block; font-size: .85rem; font-weight: 600; padding: .05rem .5rem; border: 1px solid; border-radius: .25rem; }
.holds { color: var(--good); } .in-part { color: var(--partly); } .does-not-hold { color: var(--bad); } .not-tested { color: var(--quiet); }
.parts .yes::marker { content: "✓  "; color: var(--good); }
.parts .no::marker { content: "✗  "; color: var(--bad); }
.parts .open::marker { content: "–  "; color: var(--quiet); }
.parts .figures { color: var(--quiet); }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: .82rem; }
pre { background: var(--faint); padding: .7rem .9rem; margin: .5rem 0; line-height: 1.45; }
details { margin: .3rem 0; border-bottom: 1px solid var(--faint); padding-bottom: .3rem; }
summary { cursor: pointer; }
summary code { color: var(--quiet); }
@media print {
  @page { margin: 16mm 14mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .2rem .4rem; }
  tbody th { position: static; min-width: 5rem; }
  tr, .panel, .claim { break-inside: avoid; }
  h2, h3, figcaption { break-after: avoid; }
  figure.table { break-inside: avoid; }
  .panels { grid-template-columns: 1fr 1fr; }
  .panels.single { grid-template-columns: minmax(0, 11cm); }
  .panels.three { grid-template-columns: 1fr 1fr 1fr; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7.5pt; }
}
)css";

}  // namespace nepenthe
