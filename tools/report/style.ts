/**
 * The look of a page. No font, image or rule comes from elsewhere. Colours are pairs that keep a contrast of at least 4.5 to 1 in
 * both schemes, and paper is always light.
 */
const LIGHT = `--paper:#fbfbf9;--card:#fff;--ink:#1d2125;--quiet:#596067;--line:#e1e2de;--code:#f3f3ef;--link:#1a5594;
--ok:#0f6a3c;--ok-bg:#e7f4ec;--failed:#a3241e;--failed-bg:#fcebe9;--open:#7a4a00;--open-bg:#fdf2da;--none:#596067;--none-bg:#eeeeea;
--band:#8a1f1a;--band-ink:#fff`;
const DARK = `--paper:#131619;--card:#1a1e22;--ink:#e4e7e9;--quiet:#a3acb4;--line:#2f353b;--code:#21262b;--link:#8fbcf0;
--ok:#72d19b;--ok-bg:#15301f;--failed:#ff9e95;--failed-bg:#3a1a1a;--open:#efc064;--open-bg:#352911;--none:#a3acb4;--none-bg:#262b31;
--band:#a12a23;--band-ink:#fff`;

export const STYLE = `
:root{color-scheme:light dark;${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
code,pre,.hex{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.8125rem;line-height:1.55}
h1,h2,h3{line-height:1.25;font-weight:650;text-wrap:balance}
h1{font-size:clamp(1.5rem,1.1rem + 2vw,2.25rem);letter-spacing:-.015em;margin:.5rem 0 .75rem}
h2{font-size:1.25rem;letter-spacing:-.005em;margin:0 0 .75rem}
h3{font-size:1rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-200vw}
.skip:focus{left:1rem;top:.5rem;z-index:2;background:var(--card);padding:.5rem .75rem}
.band{margin:0;background:var(--band);color:var(--band-ink);padding:.7rem 1.25rem;text-align:center;font-size:.9375rem}
.band strong{letter-spacing:.08em;margin-right:.6em}
.top,main,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
.top{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;align-items:baseline;justify-content:space-between;padding-top:1.5rem;color:var(--quiet);font-size:.875rem}
.top p{margin:0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:0 1.1rem;margin:0;padding:0}
nav a{color:var(--quiet);text-underline-offset:.25em;text-decoration-color:var(--line);display:inline-block;padding:.3rem 0}
nav a:hover{color:var(--ink);text-decoration-color:currentColor}
section{border-top:1px solid var(--line);padding:2.25rem 0 2rem}
.verdict{border:1px solid var(--line);border-top:4px solid var(--state);border-radius:.5rem;background:var(--card);padding:1.75rem 2rem;margin:1.25rem 0 2.5rem}
.verdict.ok{--state:var(--ok);--state-bg:var(--ok-bg)}
.verdict.failed{--state:var(--failed);--state-bg:var(--failed-bg)}
.verdict.open{--state:var(--open);--state-bg:var(--open-bg)}
.verdict.none{--state:var(--none);--state-bg:var(--none-bg)}
.seal{display:inline-flex;align-items:center;gap:.45rem;margin:0;padding:.15rem .8rem .15rem .4rem;border-radius:2rem;background:var(--state-bg);color:var(--state);font-weight:650}
.lede{font-size:1.0625rem;max-width:46rem;margin:0 0 1.25rem}
.origin{margin:1.25rem 0 0}
.quiet,.origin,caption,.cut{color:var(--quiet);font-size:.875rem}
.cut{font-style:italic}
.mark{flex:none;width:1.15em;height:1.15em;vertical-align:-.2em;fill:none;stroke:currentColor;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
.mark.ok{color:var(--ok)}.mark.failed{color:var(--failed)}.mark.open{color:var(--open)}.mark.none{color:var(--none)}
.tag{display:inline-flex;align-items:center;gap:.35em;white-space:nowrap;font-size:.875rem}
.tag.ok{color:var(--ok)}.tag.failed{color:var(--failed)}.tag.open{color:var(--open)}.tag.none{color:var(--none)}
.checks{list-style:none;margin:0 0 1.5rem;padding:0;display:grid;gap:.4rem}
.checks li{display:flex;gap:.6rem}
.checks .mark{margin-top:.25em}
.checks span{min-width:0;overflow-wrap:anywhere}
.checks b{font-weight:600;margin-right:.35em}
.facts{margin:.75rem 0;display:grid;gap:.45rem}
.facts div{display:grid;grid-template-columns:9rem minmax(0,1fr);gap:1rem}
.facts dt{color:var(--quiet);font-size:.875rem;padding-top:.06rem}
.facts dd{margin:0;min-width:0;overflow-wrap:anywhere}
code,.wrap{overflow-wrap:anywhere}
pre{margin:.5rem 0;padding:.75rem .9rem;background:var(--code);border:1px solid var(--line);border-radius:.375rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:1rem 0}
summary{cursor:pointer;padding:.35rem 0;color:var(--link)}
summary:hover{text-decoration:underline;text-underline-offset:.2em}
summary code{color:inherit}
.table{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;width:100%}
caption{text-align:left;padding:0 0 .35rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1rem .5rem 0;border-top:1px solid var(--line);font-size:.9375rem;font-weight:400}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--quiet);font-size:.8125rem;border-top:0;white-space:nowrap;padding-top:.25rem;padding-bottom:.3rem}
.number{font-variant-numeric:tabular-nums}
.nowrap{white-space:nowrap}
td .hex{display:inline-block;vertical-align:top}
td .n64{max-width:32ch}
td .n96{max-width:48ch}
.chips .hex{display:inline-block;vertical-align:top;max-width:64ch}
.chain .n266{display:inline-block;max-width:89ch}
tr.match{background:var(--ok-bg)}
tr.match th:first-child{box-shadow:inset 3px 0 var(--ok);padding-left:.75rem}
tr.match td:last-child{padding-right:.5rem}
.chain{list-style:none;margin:1rem 0;padding:0}
.chain>li{position:relative;display:flex;gap:1rem;padding-bottom:1.35rem}
.chain>li::before{content:"";position:absolute;left:.73rem;top:1.6rem;bottom:0;width:2px;background:var(--line)}
.chain>li:last-child{padding-bottom:0}
.chain>li:last-child::before{display:none}
.chain>li>.mark{width:1.5rem;height:1.5rem;background:var(--paper);border-radius:50%;stroke-width:1.4}
.chain>li>div{min-width:0;flex:1}
.chain h3{margin:0;display:flex;flex-wrap:wrap;gap:0 .75rem;align-items:baseline;justify-content:space-between}
.chain p{margin:.15rem 0;overflow-wrap:anywhere}
.chain .state{font-size:.8125rem;font-weight:400;color:var(--quiet)}
.chain .failed .state{color:var(--failed);font-weight:650}
.chain .open .state{color:var(--open)}
.finding{border-left:3px solid var(--line);padding-left:.9rem;max-width:52rem;overflow-wrap:anywhere}
.difference{display:inline-block;background:var(--open-bg);color:var(--open);border-radius:.25rem;padding:.1rem .5rem;margin:0 .4rem .25rem 0;font-weight:600;font-size:.9375rem;overflow-wrap:anywhere}
.counts{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.75rem;margin:1rem 0;padding:0;color:var(--quiet)}
.counts b{font-size:1.25rem;color:var(--ink);margin-right:.25rem;font-variant-numeric:tabular-nums}
.diff{overflow-x:auto;border:1px solid var(--line);border-radius:.375rem;background:var(--card)}
.hunk{margin:0;padding:.5rem 0;border:0;border-radius:0;background:none;white-space:pre;overflow:visible;min-width:max-content}
.hunk+.hunk{border-top:1px solid var(--line)}
.hunk .at{color:var(--quiet);padding:0 .75rem;font-size:.75rem}
.hunk .plus,.hunk .minus,.hunk .both{display:inline-block;min-width:100%;padding:0 .75rem}
.hunk .plus{background:var(--ok-bg);color:var(--ok)}
.hunk .minus{background:var(--failed-bg);color:var(--failed)}
.sign{display:inline-block;width:1.4em;user-select:none}
.outside{border:1px solid var(--line);border-radius:.375rem;background:var(--card);padding:.9rem 1.1rem;overflow-wrap:anywhere}
.outside-title{font-weight:650;margin:0 0 .5rem}
.outside-text{white-space:pre-wrap}
.chips,.how,.limits{padding-left:1.4rem}
.chips li,.how li,.limits li{margin:.5rem 0}
.limits li{max-width:54rem;overflow-wrap:anywhere}
.copyable{position:relative;display:block}
span.copyable{display:inline}
.copy{font:inherit;font-size:.75rem;line-height:1.2;color:var(--quiet);background:var(--card);border:1px solid var(--line);border-radius:.25rem;padding:.25rem .5rem;cursor:pointer;min-width:4.5em}
.copy:hover{color:var(--ink);border-color:var(--quiet)}
div.copyable .copy{position:absolute;top:.45rem;right:.45rem}
div.copyable pre{padding-right:5.75rem}
span.copyable .copy{margin-left:.6rem;vertical-align:.05em}
footer p{border-top:1px solid var(--line);padding-top:1rem}
footer{padding-bottom:3rem;color:var(--quiet);font-size:.875rem}
@media (max-width:40rem){
.top,main,footer{padding-left:1rem;padding-right:1rem}
.verdict{padding:1.1rem 1rem;margin-top:1rem}
.facts div{grid-template-columns:minmax(0,1fr);gap:0}
.chain>li{gap:.7rem}
thead{position:absolute;left:-200vw}
tbody tr{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;padding:.6rem 0;border-top:1px solid var(--line)}
tbody th,tbody td{display:block;border:0;padding:0;min-width:0}
tbody th,td.digest,td.wide{flex:1 0 100%;overflow-wrap:anywhere}
tbody th{font-weight:600}
td::before{content:attr(data-label) " ";color:var(--quiet);font-size:.8125rem}
td.digest::before{display:block}
td .hex.n64,td .hex.n96{max-width:none}
tr.match{padding-left:.75rem;padding-right:.5rem;box-shadow:inset 3px 0 var(--ok)}
tr.match th:first-child{box-shadow:none;padding-left:0}
div.copyable pre{padding-right:.9rem}
div.copyable .copy{position:static;display:block;margin:.35rem 0 0 auto}
}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{
:root{color-scheme:light;${LIGHT};--paper:#fff;--code:#fff}
body{font-size:10pt}
code,pre,.hex{font-size:8pt}
nav,.copy,.skip{display:none}
.band{margin:0;background:none;color:#000;border:3px solid #000;margin:0 0 1rem}
.top,main,footer{max-width:none;padding-left:0;padding-right:0}
section{padding:1rem 0}
tr,.chain>li,.facts div{break-inside:avoid}
h2,h3,summary,caption,thead{break-after:avoid}
details::details-content{content-visibility:visible;display:block}
.table,.diff{overflow:visible}
.hunk{white-space:pre-wrap;min-width:0}
.mark,.hunk span,tr.match,.difference,.seal{print-color-adjust:exact}
}
@page{margin:16mm}
`;
