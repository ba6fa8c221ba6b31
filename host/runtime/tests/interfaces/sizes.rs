//! The sizes of values that come from a blobstore.

use super::*;

/// Has the size of a range told, by a provider that streams the data and says this of the object.
async fn size_of(range: (u64, u64), data: &'static [u8], info: &'static [u8]) -> u64 {
    let invoke = FakeInvoke::streaming(vec![(vec![0], data)], move |called| {
        if !called.instance.ends_with("0.1.0") {
            return Err(InvokeError::NotServed {
                target: "blobs".to_owned(),
                function: called.function,
            });
        }
        Ok(Bytes::from_static(match called.function.as_str() {
            "container-exists" => b"\x00\x01",
            "get-object-info" => info,
            _ => b"\x00\x00",
        }))
    });
    let component = component(include_str!("../wat/blobs.wat"), invoke).await;
    let params = encoded(|out| {
        write::uleb(out, range.0);
        write::uleb(out, range.1);
    });
    as_number(call(&component, "", "size", params).await.unwrap())
}

#[tokio::test]
async fn a_value_has_the_size_of_its_range_of_the_object() {
    // Made at second 1, of so many bytes.
    let ten = b"\x00\x01\x0a";
    assert_eq!(size_of((0, u64::MAX), b"\x0a0123456789\x00", ten).await, 10);
    assert_eq!(size_of((2, 4), b"\x03234\x00", ten).await, 3);
    assert_eq!(size_of((10, u64::MAX), b"\x00", ten).await, 0);
    assert_eq!(size_of((0, u64::MAX), b"\x00", b"\x00\x01\x00").await, 0);
}

#[tokio::test]
async fn a_value_of_an_object_that_has_gone_has_as_many_bytes_as_come() {
    let gone = b"\x01\x04gone";
    assert_eq!(size_of((0, u64::MAX), b"\x03abc\x02de\x00", gone).await, 5);
    assert_eq!(size_of((0, u64::MAX), b"\x00", gone).await, 0);
}
