//! Access rules, as command lines: the client library makes them through unsafe calls only, which this workspace forbids.

use std::collections::BTreeSet;

use super::Desired;

/// One line for each principal and resource, in a fixed order.
pub(super) fn commands(brokers: &str, client_id: &str, desired: &[Desired]) -> Vec<String> {
    let tool = format!("kafka-acls --bootstrap-server {} --add", quoted(brokers));
    let mut lines = Vec::new();
    let mut groups = BTreeSet::new();
    for Desired { spec, writers, readers } in desired {
        let topic = quoted(spec.name.as_str());
        for writer in writers {
            // The size limit is read from the topic's settings; idempotent writes come with `Write`.
            lines.push(format!(
                "{tool} --allow-principal {} --operation Write --operation Describe --operation DescribeConfigs --topic {topic}",
                quoted(writer)
            ));
        }
        for reader in readers {
            let principal = quoted(&reader.principal);
            lines.push(format!(
                "{tool} --allow-principal {principal} --operation Read --operation Describe --operation DescribeConfigs --topic {topic}"
            ));
            let group = reader.group.as_ref().map_or_else(|| format!("{client_id}.tail"), |group| group.0.clone());
            groups.insert(format!("{tool} --allow-principal {principal} --operation Read --group {}", quoted(&group)));
        }
    }
    lines.extend(groups);
    lines
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:,/=@".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::DurationMs;
    use ridgeline_ports::{Cleanup, GroupId, TopicName, TopicSpec};

    use super::*;
    use crate::admin::Reader;

    #[test]
    fn each_principal_gets_what_it_needs_and_no_more() {
        let cleanup = Cleanup::Delete { retention: DurationMs::from_days(7) };
        let spec = TopicSpec { name: TopicName::new("scans"), partitions: 1, cleanup, record_bytes_max: 1 };
        let reader = |principal: &str, group: Option<&str>| Reader {
            principal: principal.into(),
            group: group.map(|group| GroupId(group.into())),
        };
        let desired = Desired {
            spec,
            writers: vec!["User:CN=it's me".into()],
            readers: vec![reader("User:matcher", Some("matcher")), reader("User:gateway", None)],
        };
        let tool = "kafka-acls --bootstrap-server k1:9092,k2:9092 --add";
        assert_eq!(
            commands("k1:9092,k2:9092", "ridgeline", &[desired]),
            [
                format!(
                    r"{tool} --allow-principal 'User:CN=it'\''s me' --operation Write --operation Describe --operation DescribeConfigs --topic scans"
                ),
                format!(
                    "{tool} --allow-principal User:matcher --operation Read --operation Describe --operation DescribeConfigs --topic scans"
                ),
                format!(
                    "{tool} --allow-principal User:gateway --operation Read --operation Describe --operation DescribeConfigs --topic scans"
                ),
                format!("{tool} --allow-principal User:gateway --operation Read --group ridgeline.tail"),
                format!("{tool} --allow-principal User:matcher --operation Read --group matcher"),
            ]
        );
    }
}
