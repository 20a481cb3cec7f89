"""The style of the page. Colours come from Gradio's theme, so that light and dark both read well."""

CSS = """
.gradio-container { max-width: 90rem !important; margin: 0 auto; }
/* what is wide scrolls inside, the page does not */
.gradio-container .tabs { contain: inline-size; }
#gk-head h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
#gk-head p { margin: .2rem 0; }
.gk-warning { border-left: .3rem solid #d55e00; padding: .1rem .8rem; margin-top: .5rem; }
.gk-status { padding: .6rem .8rem; border-left: .3rem solid #0072b2; overflow-wrap: anywhere;
  background: var(--background-fill-secondary); }
.gk-done { border-color: #009e73; }
.gk-warn { border-color: #e69f00; }
.gk-bad { border-color: #d55e00; }
.gk-scroll { overflow-x: auto; contain: inline-size; }
.gk-table { border-collapse: collapse; width: 100%; font-size: .9rem; }
.gk-table th, .gk-table td { text-align: left; padding: .35rem .5rem; vertical-align: top;
  border: 1px solid var(--border-color-primary) !important; }
.gk-table th { white-space: nowrap; }
.gk-table td:first-child, .gk-table td:last-child { min-width: 9rem; overflow-wrap: anywhere; }
.gk-grid { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.gk-grid figure { margin: 0; }
.gk-grid img { width: 100%; height: auto; display: block; border-radius: 4px; }
.gk-grid figcaption { font-size: .8rem; margin-top: .15rem; overflow-wrap: anywhere; }
.gk-small { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
.gk-tiny { grid-template-columns: repeat(4, minmax(0, 7rem)); }
#gk-limits { font-size: .85rem; margin-top: -.6rem; }
#gk-time, #gk-curve { background: #fff; }
#gk-frames h3, #gk-crops h3 { margin: .8rem 0 .4rem; overflow-wrap: anywhere; }
a.gk-save { display: block; padding: .6rem .8rem; margin: .4rem 0; max-width: 24rem;
  border: 1px solid var(--border-color-primary); border-radius: 6px; color: inherit; }
"""
