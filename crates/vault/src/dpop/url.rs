//! `htu`: whether two URLs name the same resource (RFC 9449, 4.3; RFC 3986, 6.2.2 and 6.2.3).

/// Compares without query and fragment; scheme and host in any case, a default port like none, no path like `/`. The path is
/// compared as it is written.
///
/// `false` if either is no `http` or `https` URL, or names a user.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    resource(a).zip(resource(b)).is_some_and(|(a, b)| a == b)
}

#[derive(PartialEq, Eq)]
struct Resource<'a> {
    scheme: String,
    authority: String,
    path: &'a str,
}

fn resource(url: &str) -> Option<Resource<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.find('/').map_or(Some((rest, "/")), |at| rest.split_at_checked(at))?;
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let default_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority = authority.strip_suffix(default_port).or_else(|| authority.strip_suffix(':')).unwrap_or(&authority);
    let is_host = !authority.is_empty() && !authority.contains('@');
    is_host.then(|| Resource { authority: authority.to_owned(), scheme, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_resource_are_the_same() {
        let url = "https://auth.example/api/v1/auth/mobile/refresh";
        for same in [
            url,
            "HTTPS://Auth.Example/api/v1/auth/mobile/refresh",
            "https://auth.example:443/api/v1/auth/mobile/refresh",
            "https://auth.example:/api/v1/auth/mobile/refresh",
            "https://auth.example/api/v1/auth/mobile/refresh?x=1",
            "https://auth.example/api/v1/auth/mobile/refresh#x",
            "https://auth.example/api/v1/auth/mobile/refresh?x=/#?",
        ] {
            assert!(is_same(same, url) && is_same(url, same), "{same}");
        }
        assert!(is_same("http://[::1]:80/x", "http://[::1]/x"));
        assert!(is_same("https://auth.example", "https://auth.example/"));
        assert!(is_same("https://auth.example?x", "https://auth.example/"));
    }

    #[test]
    fn other_resources_are_not() {
        let url = "https://auth.example/api/v1/auth/mobile/refresh";
        for other in [
            "http://auth.example/api/v1/auth/mobile/refresh",
            "https://auth.example:80/api/v1/auth/mobile/refresh",
            "https://auth.example:8443/api/v1/auth/mobile/refresh",
            "https://auth.example.evil/api/v1/auth/mobile/refresh",
            "https://evil/auth.example/api/v1/auth/mobile/refresh",
            "https://auth.example@evil/api/v1/auth/mobile/refresh",
            "https://user@auth.example/api/v1/auth/mobile/refresh",
            "https://auth.example/api/v1/auth/mobile/refresh/",
            "https://auth.example/api/v1/auth/mobile/Refresh",
            "https://auth.example//api/v1/auth/mobile/refresh",
            "https://auth.example/api/v1/auth/mobile/%72efresh",
            "https://auth.example/api/v1/auth/mobile",
            "https://auth.example?/api/v1/auth/mobile/refresh",
            "//auth.example/api/v1/auth/mobile/refresh",
            "/api/v1/auth/mobile/refresh",
            "",
        ] {
            assert!(!is_same(other, url), "{other}");
        }
        for none in ["", "https://", "https:///x", "ftp://a/x", "https://:443/x", "://a/x", "x", "https://u@h/"] {
            assert!(!is_same(none, none), "{none}");
        }
        assert!(!is_same("http://[::1]/x", "http://[::1]:443/x"));
        assert!(!is_same("https://[::443]/x", "https://[:]/x"));
    }
}
