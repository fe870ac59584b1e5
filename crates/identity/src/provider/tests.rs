use super::*;

#[test]
fn an_address_is_https_or_this_machine() {
    for (url, base, path) in [
        ("https://id.example/keys?v=2", "https://id.example", "/keys?v=2"),
        ("https://id.example:8443", "https://id.example:8443", ""),
        ("https://id.example/", "https://id.example", "/"),
        ("http://localhost:9000/k", "http://localhost:9000", "/k"),
        ("http://127.0.0.1/k", "http://127.0.0.1", "/k"),
        ("http://127.8.8.8:1/k", "http://127.8.8.8:1", "/k"),
        ("http://[::1]:1/k", "http://[::1]:1", "/k"),
        ("http://[::1]/k", "http://[::1]", "/k"),
    ] {
        assert_eq!(split(url), Some((base, path)), "{url}");
    }
    for url in [
        "",
        "https://",
        "https:///k",
        "id.example/k",
        "ftp://id.example/k",
        "HTTP://id.example/k",
        "http://id.example/k",
        "http://10.0.0.1/k",
        "http://0.0.0.0/k",
        "http://localhost.example/k",
        "http://127.0.0.1.example/k",
        "http://localhost@id.example/k",
        "http://localhost:1@id.example/k",
        "http://localhost\\@id.example/k",
        "http://localhost?@id.example/k",
        "http://local\thost/k",
        "https://id.example/k#f",
        "https://id.example/a b",
        "https://\u{e4}.example/k",
    ] {
        assert_eq!(split(url), None, "{url}");
    }
}

#[test]
fn what_cannot_be_a_provider_is_refused_by_its_setting_and_no_password_is_repeated() {
    let good = OidcConfig {
        issuer: "https://id.example".to_owned(),
        audience: "erp".to_owned(),
        jwks_url: "https://id.example/keys".to_owned(),
        authority: None,
    };
    assert!(Provider::new(good.clone()).is_ok());
    for (bad, said) in [
        (OidcConfig { jwks_url: "http://id.example/secret".to_owned(), ..good.clone() }, "oidc.jwks_url"),
        (OidcConfig { jwks_url: "https://me:secret@id.example/k".to_owned(), ..good.clone() }, "oidc.jwks_url"),
        (OidcConfig { authority: Some("secret".to_owned()), ..good.clone() }, "oidc.ca_file"),
        (OidcConfig { audience: String::new(), ..good.clone() }, "oidc.audience"),
        (OidcConfig { issuer: "a|b".to_owned(), ..good.clone() }, "oidc.issuer"),
        (OidcConfig { issuer: "i".repeat(201), ..good.clone() }, "oidc.issuer"),
    ] {
        let debug = format!("{bad:?}");
        let Err(error) = Provider::new(bad) else { panic!("{said}") };
        assert!(matches!(error, IdentityError::Config { .. }));
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(said) && !shown.contains("secret") && !debug.contains("secret"), "{shown}");
    }
}
