"""The names that lists give to the fields of an entry, as header cells or JSON keys. Pure."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

NAMES_OF_FIELDS: dict[str, tuple[str, ...]] = {
    "name": (
        "API", "APIs", "Name", "API name", "Title", "Service", "Service name", "API title", "Project", "Resource", "Tool",
        "이름", "API 이름", "명칭", "서비스", "名称", "名字", "API名称", "接口", "接口名称", "名稱",
        "名前", "API名", "サービス", "サービス名",
        "Nombre", "Nombre de la API", "Título", "Servicio", "Nome", "Nome da API", "Serviço",
        "Bezeichnung", "Titel", "Dienst", "Nom", "Nom de l'API", "Titre",
    ),
    "description": (
        "Description", "Desc", "Short description", "API description", "About", "Summary", "Details", "What it does", "Purpose",
        "Overview", "Info", "Notes",
        "설명", "개요", "描述", "说明", "简介", "介绍", "說明", "簡介", "説明", "概要", "内容",
        "Descripción", "Descrição", "Resumen", "Resumo", "Beschreibung", "Résumé",
    ),
    "auth": (
        "Auth", "Authentication", "Authorization", "Auth type", "Auth required", "Requires auth",
        "Requires authentication", "Authentication required",
        "Needs auth", "API key", "API key required", "Requires API key", "Key", "Key required",
        "인증", "인증 방식", "认证", "鉴权", "授权", "身份验证", "认证方式", "認證", "驗證", "認証", "認証方式",
        "Autenticación", "Autorización", "Autenticação", "Autorização", "Authentifizierung", "Anmeldung", "Authentification",
    ),
    "https": (
        "HTTPS", "SSL", "TLS", "HTTPS support", "HTTPS supported", "Supports HTTPS", "HTTPS enabled", "HTTPS 지원",
        "HTTPS 지원 여부", "支持HTTPS", "HTTPS支持", "HTTPS対応",
    ),
    "cors": (
        "CORS", "CORS support", "CORS supported", "Supports CORS", "CORS enabled", "CORS 지원", "CORS 지원 여부", "支持CORS",
        "CORS支持", "CORS対応", "跨域", "跨域支持",
    ),
    "link": (
        "Link", "URL", "Links", "Website", "Web site", "Homepage", "Home page", "Href", "Documentation", "Docs", "API URL",
        "API link", "API documentation", "Documentation link", "Documentation URL", "Docs link", "Docs URL",
        "Website link", "Human URL", "Base URL",
        "링크", "주소", "문서", "链接", "网址", "地址", "文档", "連結", "網址", "リンク", "サイト",
        "ドキュメント",
        "Enlace", "Documentación", "Sitio web", "Ligação", "Documentação", "Site", "Verweis", "Webseite",
        "Dokumentation", "Lien",
    ),
    "category": (
        "Category", "Categories", "Topic", "Topics", "Section", "Group", "Tags", "Tag",
        "카테고리", "분류", "분야", "分类", "类别", "分類", "類別", "カテゴリ", "カテゴリー",
        "Categoría", "Categoria", "Kategorie", "Catégorie",
    ),
    "provider": (
        "Provider", "Vendor", "Publisher", "Company", "Provider name",
        "제공", "제공자", "제공 기관", "제공처", "提供商", "提供者", "提供方", "厂商", "提供元",
        "Proveedor", "Provedor", "Fornecedor", "Anbieter", "Fournisseur",
    ),
}  # fmt: skip


@lru_cache(4096)
def key_of(text: str) -> str:
    """Return *text* in lower case, without accents, spaces and punctuation; what two spellings of one word share."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(filter(str.isalnum, plain))


_FIELDS = {key_of(name): field for field, names in NAMES_OF_FIELDS.items() for name in names}
_RANKS = {key: (rank, field) for rank, (key, field) in enumerate(_FIELDS.items())}


@lru_cache(4096)
def _rank_of(name: str) -> tuple[int, str] | None:
    return _RANKS.get(key_of(name))


def rank_of(name: str) -> tuple[int, str] | None:
    """Return the field for a column or key with this *name*, with the rank of the name; None for an unknown one."""
    return _rank_of(name[:64])


def places_of_fields(names: Iterable[str]) -> dict[str, int]:
    """Return the place of each field among *names*: if several fit, that of the name that comes first in NAMES_OF_FIELDS."""
    found = [(*ranked, place) for place, name in enumerate(names) if (ranked := rank_of(name))]
    return {field: place for _, field, place in sorted(found, reverse=True)}
