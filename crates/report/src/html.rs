//! The frame of the page.

/// Text of strangers, such as the names of sets, as text of a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A whole page around `body`. It loads nothing and runs nothing, whatever stands in it.
pub(crate) fn framed(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

const STYLE: &str = "
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#22262b;background:#fff;max-width:76rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2.2rem 0 .5rem;border-bottom:1px solid #dfe3e8}
p{max-width:52rem;margin:.4rem 0}
.warn{background:#fff4e0;border-left:4px solid #e69f00;padding:.6rem .9rem;max-width:none}
.notes{background:#f3f5f8;border-left:4px solid #56b4e9;padding:.6rem .9rem .6rem 2rem;margin:.6rem 0}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e6e9ed;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #b8bfc8;font-weight:600;white-space:normal;vertical-align:bottom}
tr.mean td{font-weight:600}tr.part th{text-align:left;background:#f3f5f8}small{color:#667;font-weight:400}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1.2rem}
figure{margin:0}figure svg{width:100%;height:auto;display:block}figcaption{font-size:.9rem}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1rem;list-style:none;padding:0;margin:.2rem 0;font-size:.85rem}
.legend span{display:inline-block;width:1.8rem;margin-right:.35rem;vertical-align:middle;border-top:3px solid}
.legend .area{height:.75rem;border-top:2px solid}
.pairs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.4rem}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:.5rem}.sides>div{background:#f3f5f8;text-align:center;font-size:.85rem}
.sides svg{max-height:24rem}
@media print{h2{break-after:avoid}figure{break-inside:avoid}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escaped("<a href='x'>&\"é"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;é");
        let page = framed("<script>", "<p>body</p>");
        assert!(!page.contains("<script>") && page.contains("<p>body</p>") && page.contains("default-src 'none'"));
    }
}
