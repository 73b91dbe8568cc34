"""The style sheet of the report: plain, readable, light or dark as the reader's system is."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #ffffff; --ink: #1d2126; --soft: #69717b;
  --line: #e3e1dc;
  --accent: #b4532a; --found: #3f8f6b; --between: #d9a441; --none: #c9ccd1;
  --k0: #b4532a; --k1: #2f6f9f; --k2: #3f8f6b; --k3: #8a5fb0; --k4: #c08a1e; --k5: #4b5563;
  --k6: #c2477d; --k7: #5d8a1f; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --card: #1d2024; --ink: #e8e6e1; --soft: #99a1ab; --line: #30343a;
    --accent: #e8895b; --found: #5cb88d; --between: #e0b458; --none: #4a4f57;
    --k0: #e8895b; --k1: #6fb1e0; --k2: #5cb88d; --k3: #b995dc; --k4: #e0b458; --k5: #aab2bd;
  --k6: #e983b0; --k7: #a3cf62; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
header { border-bottom: 3px solid var(--accent); padding-bottom: 14px; margin-bottom: 22px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); font-size: 17px; }
h2 { font-size: 13px; text-transform: uppercase; letter-spacing: 0.09em; color: var(--soft);
  margin: 38px 0 12px; }
a { color: var(--accent); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 10px; margin: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px;
  display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.tiles dd { margin: 0; font-size: 23px; font-variant-numeric: tabular-nums; }
.tiles small { font-size: 13px; color: var(--soft); }
.tiles dt { font-size: 13px; color: var(--soft); }
ul { margin: 0; padding: 12px 18px 12px 34px; background: var(--card); border: 1px solid var(--line); }
.videos, .grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px; }
figure.wide { grid-column: 1 / -1; }
video { width: 100%; display: block; border-radius: 4px; background: #000; }
figcaption { font-size: 14px; padding: 8px 2px 0; }
.grid figcaption { padding: 0 2px 8px; font-weight: 600; }
figcaption a { font-size: 13px; margin-left: 8px; }
.strip { width: 100%; height: 22px; border-radius: 4px; display: block; }
rect.s0, i.s0 { fill: var(--none); background: var(--none); }
rect.s1, i.s1 { fill: var(--between); background: var(--between); }
rect.s2, i.s2 { fill: var(--found); background: var(--found); }
.legend { margin: 8px 0 0; font-size: 13px; color: var(--soft); display: flex; flex-wrap: wrap;
  gap: 4px 16px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.chart { width: 100%; height: auto; display: block; }
.chart line { stroke: var(--line); stroke-width: 1; }
.chart text { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
polyline.c0 { stroke: var(--k0); } polyline.c1 { stroke: var(--k1); } polyline.c2 { stroke: var(--k2); }
polyline.c3 { stroke: var(--k3); } polyline.c4 { stroke: var(--k4); } polyline.c5 { stroke: var(--k5); }
polyline.c6 { stroke: var(--k6); } polyline.c7 { stroke: var(--k7); }
i.c0 { background: var(--k0); } i.c1 { background: var(--k1); } i.c2 { background: var(--k2); }
i.c3 { background: var(--k3); } i.c4 { background: var(--k4); } i.c5 { background: var(--k5); }
i.c6 { background: var(--k6); } i.c7 { background: var(--k7); }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line);
  font-size: 14px; }
th, td { text-align: left; padding: 5px 12px; border-top: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
tr:first-child th, tr:first-child td { border-top: 0; }
th { font-weight: 500; color: var(--soft); width: 30%; }
.stages th { width: 130px; } .num { width: 96px; text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.bar i { display: inline-block; height: 9px; min-width: 2px; border-radius: 2px; background: var(--k1);
  vertical-align: middle; }
.badge { font-size: 12px; color: var(--found); border: 1px solid currentColor; border-radius: 9px;
  padding: 0 8px; margin-left: 10px; }
.hash { font: 12px ui-monospace, Menlo, Consolas, monospace; color: var(--soft); }
.note { margin-top: 40px; padding: 14px 18px; border-left: 3px solid var(--accent);
  background: var(--card); font-size: 14px; }
@media (max-width: 600px) { main { padding: 24px 14px 40px; } h1 { font-size: 24px; }
  .hash { display: none; } }
"""
