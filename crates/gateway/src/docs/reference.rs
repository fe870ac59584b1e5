//! The OpenAPI document for people.

use ridgeline_domain::ErrorCode;
use serde_json::Value;

use super::escape;
use super::markdown::inline;

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// The body of the page.
pub(super) fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut html = format!(
        "<h1>{} {}</h1><p>{}</p><p>Machine-readable: <a href=\"/openapi.json\">/openapi.json</a></p>",
        escape(text(&info["title"])),
        escape(text(&info["version"])),
        inline(text(&info["description"])),
    );
    html.push_str(&contents(document));
    for tag in items(&document["tags"]) {
        let name = text(&tag["name"]);
        html.push_str(&format!("<h2>{}</h2><p>{}</p>", escape(name), inline(text(&tag["description"]))));
        for (path, method, operation) in operations(document) {
            if items(&operation["tags"]).iter().any(|tag| tag == name) {
                html.push_str(&section(path, method, operation));
            }
        }
    }
    html.push_str("<h2>Schemas</h2>");
    for (name, schema) in members(at(document, "/components/schemas")) {
        html.push_str(&schema_section(name, schema));
    }
    html.push_str(&codes());
    html
}

fn contents(document: &Value) -> String {
    let entries = operations(document).map(|(path, method, operation)| {
        format!(
            "<li><a href=\"#{}\"><span class=\"method\">{}</span> <code>{}</code></a> {}",
            escape(text(&operation["operationId"])),
            method.to_uppercase(),
            escape(path),
            inline(text(&operation["summary"])),
        )
    });
    format!("<nav><ul>{}</ul></nav>", entries.collect::<String>())
}

fn section(path: &str, method: &str, operation: &Value) -> String {
    let mut html = format!(
        "<section id=\"{}\"><h3><span class=\"method\">{}</span> <code>{}</code></h3><p><b>{}</b></p><p>{}</p>",
        escape(text(&operation["operationId"])),
        method.to_uppercase(),
        escape(path),
        inline(text(&operation["summary"])),
        inline(text(&operation["description"])),
    );
    let parameters = items(&operation["parameters"]);
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>Parameter<th>In<th>Type<th>Description");
        for parameter in parameters {
            html.push_str(&format!(
                "<tr><td><code>{}</code><td>{}<td>{}<td>{}",
                escape(text(&parameter["name"])),
                escape(text(&parameter["in"])),
                kind(&parameter["schema"]),
                inline(text(&parameter["description"])),
            ));
        }
        html.push_str("</table>");
    }
    for (media, content) in members(at(operation, "/requestBody/content")) {
        html.push_str(&format!("<p>Body <code>{}</code>: {}</p>", escape(media), kind(&content["schema"])));
    }
    html.push_str("<table><tr><th>Status<th>Meaning<th>Body");
    for (status, response) in members(&operation["responses"]) {
        html.push_str(&answer(status, response));
    }
    html.push_str("</table></section>");
    html
}

fn answer(status: &str, response: &Value) -> String {
    if let Some(target) = response["$ref"].as_str() {
        let body = if target.contains("/Auth") { "AuthError" } else { "Problem" };
        let titles: Vec<_> = ErrorCode::ALL
            .iter()
            .filter(|code| code.http_status().to_string() == status)
            .map(|code| format!("<a href=\"/docs/errors/{code}\">{code}</a>"))
            .collect();
        return format!("<tr><td>{}<td>{}<td>{}", escape(status), titles.join(" "), link(body));
    }
    let bodies = members(&response["content"])
        .map(|(media, content)| format!("<code>{}</code> {}", escape(media), kind(&content["schema"])));
    let bodies: Vec<_> = bodies.collect();
    format!("<tr><td>{}<td>{}<td>{}", escape(status), inline(text(&response["description"])), bodies.join("<br>"))
}

fn schema_section(name: &str, schema: &Value) -> String {
    let mut html = format!(
        "<section id=\"schema-{0}\"><h3>{0}</h3><p>{1} {2}</p>",
        escape(name),
        inline(text(&schema["description"])),
        if schema.get("properties").is_some() { String::new() } else { kind(schema) },
    );
    let required = items(&schema["required"]);
    if schema.get("properties").is_some() {
        html.push_str("<table><tr><th>Field<th>Type<th>Description");
        for (field, property) in members(&schema["properties"]) {
            let needed = if required.iter().any(|name| name == field) { " (required)" } else { "" };
            html.push_str(&format!(
                "<tr><td><code>{}</code>{needed}<td>{}<td>{}",
                escape(field),
                kind(property),
                inline(text(&property["description"])),
            ));
        }
        html.push_str("</table>");
    }
    html.push_str("</section>");
    html
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return link(name);
    }
    if let Some(first) = items(&schema["allOf"]).first() {
        return kind(first);
    }
    let mut words = vec![escape(text(&schema["type"]))];
    if schema["items"].is_object() {
        words.push(format!("of {}", kind(&schema["items"])));
    }
    let choices: Vec<_> =
        items(&schema["enum"]).iter().map(|word| format!("<code>{}</code>", escape(text(word)))).collect();
    if !choices.is_empty() {
        words.push(choices.join(" "));
    }
    for (name, sign) in [("minimum", "≥"), ("maximum", "≤"), ("maxLength", "length ≤"), ("maxItems", "count ≤")]
    {
        if schema[name].is_number() {
            words.push(format!("{sign} {}", schema[name]));
        }
    }
    for name in ["format", "pattern", "contentEncoding"] {
        if let Some(value) = schema[name].as_str() {
            words.push(format!("<code>{}</code>", escape(value)));
        }
    }
    words.join(" ")
}

fn link(name: &str) -> String {
    format!("<a href=\"#schema-{0}\">{0}</a>", escape(name))
}

fn codes() -> String {
    let rows = ErrorCode::ALL.iter().map(|code| {
        format!(
            "<tr><td><a href=\"/docs/errors/{code}\">{code}</a><td>{}<td>{}",
            code.http_status(),
            escape(code.title())
        )
    });
    format!("<h2>Error codes</h2><table><tr><th>Code<th>Status<th>Meaning{}</table>", rows.collect::<String>())
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &'static str, &Value)> {
    members(&document["paths"]).flat_map(|(path, operations)| {
        METHODS.into_iter().filter_map(move |method| Some((path, method, operations.get(method)?)))
    })
}

/// The value under a JSON pointer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
